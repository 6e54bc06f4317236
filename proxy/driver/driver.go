package driver

import (
	"context"
	"net"
	"time"

	"sluice/proxy/relay"
)

// Params is what a driver has to know of a session.
type Params struct {
	Config     *relay.Config
	HasDeflate bool      // both sides agreed on permessage-deflate
	Early      [2][]byte // bytes behind the heads, by the side that sent them; copied or used up before Relay returns
	Owner      Owner
	Handle     *Handle // filled in by Relay
}

// Owner is told of a session's end.
type Owner interface {
	// SessionEnded is called once, when both connections are closed and nothing of the session is left in the driver.
	// It is called by the driver's goroutine and must not block.
	SessionEnded(Result)
}

// Result is what a session was.
type Result struct {
	Verdict relay.Verdict
	Counts  [2]relay.Counts // by the side that sent

	HasClosed [2]bool // the side has sent a close of its own
}

func resultOf(s *relay.Session) Result {
	return Result{
		Verdict:   s.Verdict(),
		Counts:    [2]relay.Counts{s.Counts(relay.Client), s.Counts(relay.Backend)},
		HasClosed: [2]bool{s.HasClosed(relay.Client), s.HasClosed(relay.Backend)},
	}
}

// Driver relays sessions.
type Driver interface {
	// Relay takes both connections, whatever happens, and relays between them until both are closed. It doesn't block.
	// After Close it cuts them and tells the owner before it returns.
	Relay(p Params, client, backend net.Conn)

	// Totals returns the sums over all sessions, live ones included. It waits for the drivers' goroutines, for a turn.
	Totals() relay.Totals

	// Turns returns how long the turns of loops lasted. It waits for the loops, for a turn.
	Turns() Turns

	// QueuedBytes returns how many bytes wait in queues now.
	QueuedBytes() int64

	// Close cuts what is left, and returns when every goroutine has ended or the context has.
	Close(context.Context) error
}

// Handle reaches a session from outside, once Relay has returned; when the session is over it does nothing. Its methods may be
// called from any goroutine.
type Handle struct {
	in controller
	id uint64 // of use to in alone
}

// controller is where a Handle leads.
type controller interface {
	closeBoth(h *Handle, code uint16, reason relay.Reason)
	stats(h *Handle) (Stats, bool)
	// statsOf calls take for each handle, all of them its own, whose session lives.
	statsOf(handles []*Handle, take func(i int, st Stats))
}

// CloseBoth asks for a close of both sides (relay.Session.CloseBoth). It doesn't wait for it.
func (h *Handle) CloseBoth(code uint16, reason relay.Reason) { h.in.closeBoth(h, code, reason) }

// Stats returns what the session has done so far; false: it is over. It waits for the driver's goroutine, for a turn.
func (h *Handle) Stats() (Stats, bool) { return h.in.stats(h) }

// Stats is a live session seen from outside.
type Stats struct {
	Counts [2]relay.Counts  // by the side that sent
	RTT    [2]time.Duration // of the last ping to the side; 0: unknown
	Queued [2]int           // bytes that wait for the side
	Idle   time.Duration    // since the last payload byte of a data frame
}

// statsOf reads a session's statistics. The caller owns both.
func statsOf(s *relay.Session, p *pending, now relay.Instant) Stats {
	st := Stats{Idle: time.Duration(now - s.IdleSince())}
	for side := relay.Client; side <= relay.Backend; side++ {
		st.Counts[side] = s.Counts(side)
		st.RTT[side] = s.RTT(side)
		st.Queued[side] = p.waiting(side)
	}
	return st
}

// room is the driver's name in what a recovery.Handler is told.
const room = "driver"

// clock is a driver's monotonic clock.
type clock struct{ start time.Time }

func newClock() clock { return clock{time.Now()} }

// now returns the present instant, which is never 0.
func (c clock) now() relay.Instant { return relay.Instant(time.Since(c.start)) + 1 }

// instant turns a time into an instant.
func (c clock) instant(t time.Time) relay.Instant { return relay.Instant(t.Sub(c.start)) + 1 }

// at turns an instant into a time.
func (c clock) at(t relay.Instant) time.Time { return c.start.Add(time.Duration(t - 1)) }
