package driver

import (
	"context"
	"net"
	"time"

	"sluice/proxy/relay"
)

// Params describe a session to a driver.
type Params struct {
	Config     *relay.Config
	HasDeflate bool      // both sides agreed on permessage-deflate
	Early      [2][]byte // bytes after the heads, by the side that sent them; Relay copies or processes them before it returns
	Owner      Owner
	Handle     *Handle // filled in by Relay
}

// An Owner learns of its session's end.
type Owner interface {
	// SessionEnded is called once, when both connections are closed and nothing of the session is left in the driver.
	// A goroutine of the driver calls it; it must not block.
	SessionEnded(Result)
}

// Result is how a session ended, and what it relayed.
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
	// Relay becomes the owner of both connections, also if it fails, and relays between them until both are closed. It doesn't
	// block. After Close it cuts them, and calls SessionEnded before it returns.
	Relay(p Params, client, backend net.Conn)

	// Totals returns the sums over all sessions, live ones included. It waits for a turn of each loop.
	Totals() relay.Totals

	// Turns returns how long the turns of loops lasted. It waits for a turn of each loop.
	Turns() Turns

	// QueuedBytes returns the number of bytes that wait in queues now.
	QueuedBytes() int64

	// QueueMemory returns how many bytes of memory have been allocated for queues so far, those among them that have been collected since.
	QueueMemory() int64

	// Close cuts all sessions, and returns when every goroutine of the driver has ended, or when the context has.
	Close(context.Context) error
}

// A Handle controls a session from outside, once Relay has returned; after the session it does nothing. Any goroutine may call its
// methods.
type Handle struct {
	controller controller
	id         uint64 // for the controller alone
}

// A controller acts for handles: a loop for those of its sessions, a goroutineSession for its own.
type controller interface {
	closeBoth(h *Handle, code uint16, reason relay.Reason)
	stats(h *Handle) (Stats, bool)
	// statsOf calls report for each handle whose session lives. All handles are the controller's own.
	statsOf(handles []*Handle, report func(i int, st Stats))
}

// CloseBoth asks for a close of both sides (relay.Session.CloseBoth), and doesn't wait for it.
func (h *Handle) CloseBoth(code uint16, reason relay.Reason) { h.controller.closeBoth(h, code, reason) }

// Stats returns what the session has done so far. It returns false if the session is over. It waits for a turn of the session's loop.
func (h *Handle) Stats() (Stats, bool) { return h.controller.stats(h) }

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

// room names this package in calls of a recovery.Handler.
const room = "driver"

// clock is a driver's monotonic clock.
type clock struct{ start time.Time }

func newClock() clock { return clock{time.Now()} }

// now returns the present instant, which is never 0.
func (c clock) now() relay.Instant { return relay.Instant(time.Since(c.start)) + 1 }

// instant converts a time to an instant.
func (c clock) instant(t time.Time) relay.Instant { return relay.Instant(t.Sub(c.start)) + 1 }

// at converts an instant to a time.
func (c clock) at(t relay.Instant) time.Time { return c.start.Add(time.Duration(t - 1)) }
