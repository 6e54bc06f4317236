package driver

import (
	"crypto/tls"
	"math/rand/v2"
	"sync"
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

// Sessions at once need one slab each of slots and of states of TLS, and so do any number of them one after another.
func TestStatesOfTLSAreUsedAgain(t *testing.T) {
	d := openTested(t, &kind{open: openOneLoop})
	l := d.Driver.(*Loops).loops[0].Load()
	k := &kind{pair: tcpPair, tls: security{tls.VersionTLS13, tls.VersionTLS13}}
	const atOnce, each = 16, 20
	var wg sync.WaitGroup
	for i := range atOnce {
		r := rand.New(rand.NewPCG(7, uint64(i)))
		wg.Go(func() {
			for range each {
				churn(t, d, k, r)
			}
		})
	}
	wg.Wait()
	l.do(func() {
		l.audit()
		if slots, states, free := len(l.slots.hots), len(l.tls.secureds), len(l.tls.free); slots != 1 || states != 1 || free != slabSize {
			t.Errorf("%d slabs of slots and %d of states of TLS, %d states free; want one slab each, and all free", slots, states, free)
		}
	})
}
