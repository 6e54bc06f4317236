package driver

import "sluice/proxy/relay"

// slabSize is how many sessions' state is allocated at once.
const slabSize = 256

// hot is what every event of a session touches. It has no pointers, so that the garbage collector passes over slabs of it.
type hot struct {
	core       relay.Session
	socket     [2]socket // by side
	generation uint32    // distinguishes a slot's sessions: an event may be older than the session in its slot
	timer      int32     // index in deadlines.entries
	secured    [2]uint32 // by side: 1 + index in tlsMemory.secureds; 0: the side has no TLS
	stream     [2]uint32 // by side: 1 + index in muxMemory.streams; 0: the side is no stream
}

// cold are a session's pointers.
type cold struct {
	pending *pending      // nil when idle
	conn    [2]*cryptoTLS // by side; nil: the side has no TLS, or records of package record
	config  *relay.Config
	owner   Owner // nil: the slot is a task's, or free
}

// A slot holds one session or task of a loop. Valid until that is over.
type slot struct {
	index uint32
	*hot
	*cold
}

// session returns what the engine works on. It is valid until the loop works on another slot.
func (l *loop) session(s slot) session {
	return session{&s.core, &s.pending, [2]transport{l.transport(s, relay.Client), l.transport(s, relay.Backend)}}
}

// transport returns what carries a side.
func (l *loop) transport(s slot, side relay.Side) transport {
	switch {
	case s.secured[side] != 0:
		return l.secure(s, side)
	case s.stream[side] != 0:
		return l.stream(s, side)
	}
	return plainSocket{&s.socket[side]}
}

// close closes a side's connection.
func (l *loop) close(s slot, side relay.Side) {
	l.transport(s, side).close()
	l.removeTLS(s, side)
	l.removeStream(s, side, noOwner)
}

// plain returns the transport of a side that is a socket without TLS. It returns false for any other side.
func (s slot) plain(side relay.Side) (p plainSocket, isPlain bool) {
	if s.secured[side] != 0 || s.stream[side] != 0 {
		return plainSocket{}, false
	}
	return plainSocket{&s.socket[side]}, true
}

// slots hold a loop's sessions. Owned by the loop goroutine.
type slots struct {
	hots  []*[slabSize]hot
	colds []*[slabSize]cold
	free  []uint32
}

// at returns a slot, in use or not.
func (s *slots) at(index uint32) slot {
	return slot{index, &s.hots[index/slabSize][index%slabSize], &s.colds[index/slabSize][index%slabSize]}
}

// acquire returns a slot that isn't in use, for a task that owns the client's descriptor. Its state is zero, except the generation, which
// distinguishes the slot's sessions.
func (s *slots) acquire(client int) slot {
	if len(s.free) == 0 {
		base := uint32(len(s.hots) * slabSize)
		s.hots = append(s.hots, newSlab[hot]())
		s.colds = append(s.colds, new([slabSize]cold))
		for i := uint32(slabSize); i > 0; i-- {
			s.free = append(s.free, base+i-1)
		}
	}
	last := len(s.free) - 1
	index := s.free[last]
	s.free = s.free[:last]
	t := s.at(index)
	*t.hot = hot{
		generation: t.generation,
		socket:     [2]socket{{fd: int32(client), interest: notWatched}, {fd: -1, interest: notWatched}},
	}
	*t.cold = cold{}
	return t
}

// release makes a slot free: no handle and no event reaches its session any more. The pointers are removed for the garbage collector.
func (s *slots) release(t slot) {
	t.generation = (t.generation + 1) & maxGeneration
	*t.cold = cold{}
	s.free = append(s.free, t.index)
}

// An id identifies a session: 31 bits of generation, 32 of slot. An event's data is an id, and a bit for the side.
const maxGeneration = 1<<31 - 1

// noID is the id of no session: a loop has fewer slots.
const noID = 1<<32 - 1

func (t slot) id() uint64 { return uint64(t.generation)<<32 | uint64(t.index) }

// find returns the slot of an id, and whether the id's session or task still is in it.
func (s *slots) find(id uint64) (slot, bool) {
	index := uint32(id)
	if int(index/slabSize) >= len(s.hots) {
		return slot{}, false
	}
	t := s.at(index)
	return t, uint64(t.generation) == id>>32
}

// session returns the slot of a live session.
func (s *slots) session(id uint64) (slot, bool) {
	t, isLive := s.find(id)
	return t, isLive && t.owner != nil
}
