package driver

import "sluice/proxy/relay"

// pending is the state that a session needs only while bytes of it are on their way; an idle session has none. Its session's driver
// goroutine owns it. It is zero when it goes back to the pool, and so when the next session acquires it.
type pending struct {
	pipe     [2]*pipe         // payload in front of the queue, by the side that receives; nil: none. Only loop.move puts one here
	inFlight [2]int           // bytes in front of the queue that a goroutine is writing, by the side that receives
	queue    [2]queue         // by the side that receives
	carry    [2]carry         // by the side that sends
	held     [2][]byte        // pongs that wait for a boundary, by the side that receives
	part     [2]*recordBuffer // the beginning of a record of TLS that hasn't come whole, by the side that sends
}

// carry is the part of a header or control frame that has come so far.
type carry struct {
	n uint8
	b [relay.MaxCarry]byte
}

func (c *carry) set(p []byte) {
	if len(p) > len(c.b) {
		panic("BUG: Scan leaves more than a control frame")
	}
	c.n = uint8(copy(c.b[:], p))
}

// A pipe holds payload that a loop moves without looking at it. Owned by the loop; a session has one while something is in it.
type pipe struct {
	read, write int // descriptors
	n           int // bytes
}

// waiting returns how many bytes wait for a side.
func (p *pending) waiting(to relay.Side) int {
	if p == nil {
		return 0
	}
	n := p.inFlight[to] + p.queue[to].n
	if p.pipe[to] != nil {
		n += p.pipe[to].n
	}
	return n
}

func (p *pending) isEmpty() bool {
	n := 0
	for side := range p.queue {
		n += p.inFlight[side] + p.queue[side].n + int(p.carry[side].n) + len(p.held[side])
	}
	return n == 0 && p.pipe == [2]*pipe{} && p.part == [2]*recordBuffer{}
}

// acquirePending returns a session's pending state, which it borrows if the session has none.
func (e *engine) acquirePending(s *session) *pending {
	if *s.pending == nil {
		*s.pending = e.pools.pendings.Get().(*pending)
	}
	return *s.pending
}

// releasePending returns the pending state to its pool if nothing is in it.
func (e *engine) releasePending(s *session) {
	if p := *s.pending; p != nil && p.isEmpty() {
		*p = pending{}
		e.pools.pendings.Put(p)
		*s.pending = nil
	}
}
