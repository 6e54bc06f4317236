package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sluice/balancer"
	"sluice/internal/epoll"
	"sluice/internal/share"
	"sluice/proxy/driver"
	"sluice/proxy/limits"
	"sluice/proxy/relay"
	"sluice/proxy/route"
	"sluice/proxy/session"
)

// A SessionState is a session as one process tells another, which goes on with it.
type SessionState struct {
	Session session.State     `cbor:"1,keyasint"`
	Driver  driver.State      `cbor:"2,keyasint"`
	Config  relay.ConfigState `cbor:"3,keyasint"`
	FDs     [2]int            `cbor:"-"` // sockets by side; they go with it in another way
}

// A mover is a driver whose sessions can move to another process: driver.Loops.
type mover interface {
	Freeze([]*driver.Handle) []driver.Frozen
	Thaw([]*driver.Handle)
	Forget([]*driver.Handle)
	Adopt(p driver.Params, st *driver.State, fds [2]int) (start, cancel func(), err error)
}

// Why sessions, and what may become one, stay in this process, beside the reasons of package driver.
const (
	stayedHandshake = "handshake" // under way
	stayedRequest   = "request"   // plain ones under way
	stayedRefused   = "refused"   // by the other process
)

const (
	// moveBatch is how many sessions stop at once, to move: each for the time that the other process needs for all of them. A message
	// carries two descriptors of each, and Linux allows 253.
	moveBatch = 100
	// moveBytes bounds the bytes that wait in the sessions of one call of send, unless one session alone has more.
	moveBytes = 8 << 20
)

// HandOver hands the live sessions over to another process in batches, until no session is left that can move. send gives a batch to the
// other process, which must have answered for each session when it returns: whether it is the owner from now on. It owns neither the states
// nor the descriptors after that. With an error of send nothing of its batch may have been taken: these sessions go on here, and HandOver
// returns the error. stayed says how many sessions stay, handshakes and plain requests under way included, by the reason. HandOver may be
// called again: what was a handshake may be a session by then. Accepting must be paused, or stopped.
func (p *Proxy) HandOver(ctx context.Context, send func(batch []SessionState) (taken []bool, err error)) (moved int, stayed map[string]int, err error) {
	h := transfer{proxy: p, send: send, why: map[*session.Session]string{}}
	h.driver, _ = p.driver.(mover)
	for err == nil {
		left := slices.DeleteFunc(p.sessions.List(), h.isSettled)
		if len(left) == 0 {
			break
		}
		for some := range slices.Chunk(left, moveBatch) {
			if err = ctx.Err(); err == nil {
				err = h.move(some)
			}
			if err != nil {
				break
			}
		}
	}
	stayed = map[string]int{}
	for _, s := range p.sessions.List() {
		if why := h.why[s]; why != "" {
			stayed[why]++
		}
	}
	for kind, why := range map[limits.Kind]string{limits.Handshakes: stayedHandshake, limits.Requests: stayedRequest} {
		if n := p.totals[kind].Held(); n > 0 {
			stayed[why] = int(n)
		}
	}
	return h.moved, stayed, err
}

// A transfer is a call of HandOver.
type transfer struct {
	proxy  *Proxy
	driver mover // nil: no session can move
	send   func([]SessionState) ([]bool, error)
	moved  int
	why    map[*session.Session]string // sessions that stay
}

func (h *transfer) isSettled(s *session.Session) bool {
	_, isSettled := h.why[s]
	return isSettled
}

// A frozen is a session that has stopped to move.
type frozen struct {
	session *session.Session
	state   SessionState
}

// move moves some sessions, as far as they can. Each is settled then, or has moved, unless there is an error.
func (h *transfer) move(some []*session.Session) error {
	if h.driver == nil {
		for _, s := range some {
			h.why[s] = driver.WhyGoroutine
		}
		return nil
	}
	var all, closing []frozen // all: not settled yet
	defer func() { h.thaw(all) }()
	for i, f := range h.driver.Freeze(handlesOf(some)) {
		s := some[i]
		if f.State == nil {
			h.why[s] = f.Why
			continue
		}
		of := frozen{s, SessionState{Session: s.State(), Driver: *f.State, Config: s.Route.Relay.State(), FDs: f.FDs}}
		if s.IsClosing() { // the close waits for thaw
			closing = append(closing, of)
			h.why[s] = driver.WhyClosing
		} else {
			all = append(all, of)
		}
	}
	h.thaw(closing)
	for len(all) > 0 {
		n, size := 0, 0
		for n < len(all) && (n == 0 || size+waiting(&all[n].state) <= moveBytes) {
			size += waiting(&all[n].state)
			n++
		}
		taken, err := h.handOver(all[:n])
		if err != nil {
			return err
		}
		batch := all[:n]
		all = all[n:]
		h.settle(batch, taken)
	}
	return nil
}

// waiting returns how many bytes wait in a session.
func waiting(s *SessionState) (n int) {
	for i := range s.Driver.Sides {
		n += len(s.Driver.Sides[i].Queue)
	}
	return n
}

// handOver gives a batch to the other process.
func (h *transfer) handOver(batch []frozen) (taken []bool, err error) {
	states := make([]SessionState, len(batch))
	for i := range batch {
		states[i] = batch[i].state
	}
	taken, err = h.send(states)
	if err == nil && len(taken) != len(batch) {
		err = fmt.Errorf("an answer for %d sessions of %d", len(taken), len(batch))
	}
	return taken, err
}

// settle forgets the sessions of a batch that were taken, and lets the others go on.
func (h *transfer) settle(batch []frozen, taken []bool) {
	var gone, refused []frozen
	for i, f := range batch {
		if taken[i] {
			gone = append(gone, f)
		} else {
			refused = append(refused, f)
			h.why[f.session] = stayedRefused
		}
	}
	defer h.thaw(refused)
	h.driver.Forget(handlesOf(sessionsOf(gone)))
	for _, f := range gone {
		if h.proxy.sessions.Leave(f.session) {
			h.proxy.metrics.leave(f.session)
		}
	}
	h.moved += len(gone)
}

func (h *transfer) thaw(some []frozen) {
	if len(some) > 0 {
		h.driver.Thaw(handlesOf(sessionsOf(some)))
	}
}

func sessionsOf(some []frozen) []*session.Session {
	sessions := make([]*session.Session, len(some))
	for i, f := range some {
		sessions[i] = f.session
	}
	return sessions
}

func handlesOf(some []*session.Session) []*driver.Handle {
	handles := make([]*driver.Handle, len(some))
	for i, s := range some {
		handles[i] = &s.Handle
	}
	return handles
}

// A newcomer is a session of another process that is about to begin here.
type newcomer struct {
	*session.Session
	isGone        bool // the configuration lacks its route or pool
	places        *limits.Places
	start, cancel func() // of the driver
}

// TakeOver prepares to go on with sessions of another process, whatever the limits are, and says for each that it refuses why; "" means that
// it is taken. It becomes the owner of the descriptors, and closes those of refused sessions by close(2) alone. It touches no socket that it
// takes before start, by which this process becomes the owner of the sessions; cancel is for when the other process stays it, and closes the
// descriptors. Exactly one of both is called, once. A session whose route or pool the configuration lacks lives on as after a reload.
func (p *Proxy) TakeOver(batch []SessionState) (why []string, start, cancel func()) {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	why = make([]string, len(batch))
	var taken []*newcomer
	for i := range batch {
		n, err := (*newcomer)(nil), errPanicked
		p.panics.Guard(room, func() { n, err = p.takeOver(&batch[i]) })
		if err != nil {
			why[i] = err.Error()
			for _, fd := range batch[i].FDs {
				epoll.Close(fd)
			}
			continue
		}
		taken = append(taken, n)
	}
	removed := p.onRemoved
	start = func() {
		for _, n := range taken {
			p.panics.Guard(room, func() { p.begin(n) })
		}
		p.drainStrangers(taken, removed)
	}
	cancel = func() {
		for _, n := range taken {
			n.cancel()
			n.Backend.Release(balancer.ClientFault) // it says nothing about the backend
			release(n.places, n.Client.Addr())
		}
	}
	return why, start, cancel
}

var (
	errPanicked = errors.New("a panic")
	errNoMover  = errors.New("this process has another driver")
)

// takeOver prepares to go on with a session. On an error the descriptors are still the caller's. The caller holds reloading.
func (p *Proxy) takeOver(st *SessionState) (*newcomer, error) {
	to, isMover := p.driver.(mover)
	switch {
	case !isMover:
		return nil, errNoMover
	case p.refuses.Load():
		return nil, ErrStopping
	}
	if err := st.Session.Check(); err != nil {
		return nil, err
	}
	config, err := st.Config.Config()
	if err != nil {
		return nil, err
	}
	pool := p.poolOf(st.Session.Route.Pool)
	backend, err := pool.Occupy(st.Session.Backend)
	if err != nil {
		return nil, err
	}
	isTaken := false
	defer func() {
		if !isTaken { // there is an error, or it panicked
			backend.Release(balancer.ClientFault)
		}
	}()
	n := new(newcomer)
	var of *route.Route
	of, n.isGone = p.routeOf(&st.Session.Route, &config, pool)
	var from *session.Source
	from, n.places = p.sourceOf(st.Session.Listener)
	n.Session = p.sessions.Restore(&st.Session, from, of, backend)
	params := driver.Params{Config: &of.Relay, HasDeflate: st.Session.HasDeflate, Owner: n.Session, Handle: &n.Handle}
	if n.start, n.cancel, err = to.Adopt(params, &st.Driver, st.FDs); err != nil {
		return nil, err
	}
	occupy(n.places, n.Client.Addr())
	isTaken = true
	return n, nil
}

// occupy counts a session of a client, and its connection, whatever the limits are.
func occupy(places *limits.Places, client netip.Addr) {
	of := share.KeyOf(client)
	places.Occupy(limits.Sessions, of)
	places.Occupy(limits.Connections, of)
}

// begin makes a session this process's own.
func (p *Proxy) begin(n *newcomer) {
	p.metrics.enter(n.Session)
	p.sessions.Add(n.Session)
	n.start()
	n.Relayed()
}

// drainStrangers closes the sessions whose route or pool the configuration lacks, if it says so.
func (p *Proxy) drainStrangers(all []*newcomer, removed onRemoved) {
	var of []*session.Session
	for _, n := range all {
		if n.isGone && removed.drains {
			of = append(of, n.Session)
		}
	}
	p.spreadRemoved(of, removed.over)
}
