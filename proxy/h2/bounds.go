package h2

import "time"

// A bound is one kind of what costs a peer nothing and us something. Each is counted by the second.
type bound uint8

const (
	boundBlock    bound = iota // HEADERS without END_HEADERS, and CONTINUATION
	boundPing                  // PING, also an acknowledgement
	boundSettings              // SETTINGS, also an acknowledgement, and GOAWAY
	boundReset                 // RST_STREAM, what is answered by one (errors of streams, streams over the limit), and tunnels that end before the answer
	boundEmpty                 // DATA without a byte of data and without END_STREAM
	boundUpdate                // WINDOW_UPDATE of less than smallUpdate
	boundPriority              // PRIORITY
	boundCount
)

var boundTexts = [boundCount]string{
	"too many pieces of field blocks", "too many PING frames", "too many SETTINGS frames", "too many streams are reset",
	"too many empty DATA frames", "too many small windows", "too many PRIORITY frames",
}

const (
	perSecond = 100

	// smallUpdate is the size of a WINDOW_UPDATE from which on it isn't counted: windows end at 2^31-1 bytes, so that larger ones need DATA.
	smallUpdate = 1 << 10

	// updatesPerData is how many small WINDOW_UPDATE frames each DATA frame that we send allows. A peer that gives each small message back at
	// once sends two: one for the stream, one for the connection.
	updatesPerData = 4
)

// bounds counts since the begin of a second, which is that of the first event after the second before.
type bounds struct {
	since  time.Duration
	counts [boundCount]uint32
	open   uint32 // streams that were open at its begin
	sent   uint32 // DATA frames sent in it
	before uint32 // DATA frames sent from the begin of the second before to its own
}

// count counts one more of b and reports a fault if it is over what a second allows.
func (c *Conn) count(b bound) *Fault {
	k := &c.bounds
	if c.now-k.since >= time.Second {
		*k = bounds{since: c.now, open: uint32(len(c.streams)), before: k.sent}
	}
	k.counts[b]++
	limit := uint64(perSecond)
	switch b {
	case boundReset, boundPriority:
		// A page that is closed resets all of its streams at once, which is no flood: they were opened in other seconds.
		limit += uint64(k.open)
	case boundUpdate:
		limit += updatesPerData * (uint64(k.sent) + uint64(k.before))
	}
	if uint64(k.counts[b]) > limit {
		return &Fault{EnhanceYourCalm, boundTexts[b]}
	}
	return nil
}

// latePerReset is how many frames of a stream that a Client has reset may have been on their way, without being counted: an interim response, the
// response, and trailers or a reset. Many requests that end early, and a peer that answers all of them late, are no flood.
const latePerReset = 3

// countLate counts what has come on a stream that the Conn has no longer.
func (c *Conn) countLate() *Fault {
	if c.late > 0 {
		c.late--
		return nil
	}
	return c.count(boundReset)
}

// countReset counts the reset of a stream, nil if it isn't known. A client's own streams aren't counted: each costs it a request first.
func (c *Conn) countReset(s *Stream) *Fault {
	switch {
	case s == nil:
		return c.countLate()
	case c.config.Role == Client:
		return nil
	default:
		return c.count(boundReset)
	}
}
