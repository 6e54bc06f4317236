package load

import (
	"sync/atomic"
	"time"

	"sluice/internal/epoll"
)

const (
	// readBytes is the size of a loop's only read buffer.
	readBytes = 256 << 10
	// sweepPause is the resolution of the sessions' time limits.
	sweepPause = time.Second
)

// loop drives its share of the sessions in one goroutine, which owns all fields but target.
type loop struct {
	run           *run
	recorder      *recorder
	poller        *epoll.Poller
	first, stride int   // the numbers of its sessions: first, first+stride, …
	err           error // of serve, after it has returned

	wanted atomic.Int64 // how many sessions are to be opened

	stage   stage // the last one that was entered
	clients []*client
	opening int // clients that are connecting or shaking hands
	live    int // clients that have a socket or, in a storm, will have one again
	timers  timers
	sweepAt time.Duration
	source  source
	buf     []byte
}

func (l *loop) serve() error {
	for l.stage < stageStop || l.live > 0 {
		events, err := l.poller.Wait(l.deadline())
		if err != nil {
			return err
		}
		l.turn(events)
	}
	return nil
}

// deadline returns when the loop has work for which no event comes: timers and time limits.
func (l *loop) deadline() time.Time {
	at := l.sweepAt
	if len(l.timers) > 0 {
		at = min(at, l.timers[0].at)
	}
	return l.run.startedAt.Add(at)
}

func (l *loop) turn(events []epoll.Event) {
	l.recorder.mu.Lock()
	defer l.recorder.mu.Unlock()
	for i := range events {
		e := &events[i]
		if c := l.clients[uint32(e.Data())]; c.fd >= 0 && c.generation == uint32(e.Data()>>32) {
			l.handle(c, e.Events)
		}
	}
	now := l.run.now()
	for len(l.timers) > 0 && l.timers[0].at <= now {
		l.fire(l.clients[l.timers.pop().slot], now)
	}
	if s := l.run.current(); s > l.stage {
		l.enter(s, now)
	}
	for l.stage < stageStop && (l.opening < maxOpening || l.run.o.Mode == Storm) && int64(len(l.clients)) < l.wanted.Load() {
		l.add(now)
	}
	if now >= l.sweepAt {
		l.sweep(now)
	}
}

// add creates the next client and connects it.
func (l *loop) add(now time.Duration) {
	c := &client{fd: -1, slot: uint32(len(l.clients))}
	l.clients = append(l.clients, c)
	l.live++
	l.connect(c, now)
}

// enter applies a new stage to all clients.
func (l *loop) enter(s stage, now time.Duration) {
	from := l.stage
	l.stage = s
	for _, c := range l.clients {
		if c.fd < 0 {
			continue
		}
		if from < stageBegin && c.traffic != nil && c.state != stateHead {
			c.traffic.begin(now)
		}
		if s >= stageStop {
			l.stop(c, now)
		}
		if c.fd >= 0 {
			l.flush(c, now)
		}
	}
}

// sweep ends clients that are over their time limit.
func (l *loop) sweep(now time.Duration) {
	l.sweepAt = now + sweepPause
	for _, c := range l.clients {
		if c.fd < 0 || c.limit == 0 || now < c.limit {
			continue
		}
		switch c.state {
		case stateHead:
			l.fail(c, now, faultf("timeout", "no answer to the handshake in %v", openLimit))
		case stateClosing:
			l.fail(c, now, faultf("timeout", "no close from the server in %v", closeLimit))
		case stateOver:
			l.end(c)
		default:
			panic("BUG: an open session has a limit")
		}
	}
}
