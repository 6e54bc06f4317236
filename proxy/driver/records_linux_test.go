package driver

import (
	"testing"
)

// A tapCounter counts the records that a tap sees.
type tapCounter struct {
	updates int // KeyUpdates
	others  int // records since the last one
	most    int // records that came between two
}

// sealedUpdate is the length of a record with a KeyUpdate: 5 bytes, a type and a tag.
const sealedUpdate = 5 + 1 + 16

func (c *tapCounter) count(length int) {
	if length != sealedUpdate {
		c.others++
		c.most = max(c.most, c.others)
		return
	}
	c.updates, c.others = c.updates+1, 0
}

// RFC 8446 section 5.5, with a limit that can be reached. The peers have crypto/tls.
func TestKeysChangeAtTheLimitOfRecordsBothWays(t *testing.T) {
	const frames, limit = 100_000, 1000
	x, taps := tapped(t, func(t testing.TB) Driver {
		d := openOneLoop(t)
		l := d.(*Loops).loops[0].Load()
		l.do(func() { l.limitRecords(limit) })
		return d
	}, false)
	var counts [2]tapCounter
	for side, c := range taps {
		c.onRecord = counts[side].count
	}
	// Each side waits for the other one's frame, so that each frame is a record.
	there, back := x.client.text("from the client"), x.backend.text("from the backend")
	for range frames {
		x.client.write(there)
		x.backend.want("a frame", there)
		x.backend.write(back)
		x.client.want("a frame", back)
	}
	for side, c := range counts {
		if want := frames / limit; c.most > limit || c.updates > want || c.updates < want-1 {
			t.Errorf("side %d was sent %d KeyUpdates, and up to %d records under one key; want %d at most, and %d or one less", side, c.updates, c.most, limit, want)
		}
	}
}
