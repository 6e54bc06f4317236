//go:build linux

package driver

import "sluice/proxy/relay"

// slabSize is how many sessions' state is allocated at once.
const slabSize = 256

// hot is what every event of a session touches. It has no pointers, so that the garbage collector passes over slabs of it.
type hot struct {
	core       relay.Session
	fd         [2]int32  // -1: closed
	interest   [2]uint32 // what epoll is asked for; notWatched: the descriptor isn't in epoll
	generation uint32    // tells a slot's sessions apart: an event may be older than the session in its slot
	timer      int32     // index in the heap
}

// notWatched is no set of events: EPOLLET alone is never asked for.
const notWatched = 1 << 31

// cold are a session's pointers.
type cold struct {
	rare      *rare // nil when idle
	transport transport
	config    *relay.Config
	owner     Owner // nil: the slot is a task's, or free
}

// A transport is what a session keeps for the way of its bytes beneath the frames: *secure where a side has TLS, *splicing where both
// sides are plain sockets and a large frame has just passed. It is one or the other, so that what belongs to plain sockets can't be
// found on a session with TLS. nil: two plain sockets between which small frames pass.
type transport interface{ isTransport() }

// secure returns what the session has for TLS; nil: neither side has any.
func (s slot) secure() *secure {
	c, _ := s.transport.(*secure)
	return c
}

// A slot is one session of a loop. Valid until the session is over.
type slot struct {
	index uint32
	*hot
	*cold
}

// slabs hold a loop's sessions. Owned by the loop goroutine.
type slabs struct {
	hots  []*[slabSize]hot
	colds []*[slabSize]cold
	free  []uint32
}

// at returns a slot, in use or not.
func (s *slabs) at(index uint32) slot {
	return slot{index, &s.hots[index/slabSize][index%slabSize], &s.colds[index/slabSize][index%slabSize]}
}

// take returns a slot that isn't in use, for a task that owns the client's descriptor. It begins from zero: all that is left of the
// slot's last session is the generation, which tells the two apart.
func (s *slabs) take(client int) slot {
	if len(s.free) == 0 {
		base := uint32(len(s.hots) * slabSize)
		s.hots = append(s.hots, newHots())
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
		fd:         [2]int32{int32(client), -1},
		interest:   [2]uint32{notWatched, notWatched},
	}
	*t.cold = cold{}
	return t
}

// give returns a slot; handles and events of its session reach nobody from now on. Its pointers go, for the garbage collector.
func (s *slabs) give(t slot) {
	t.generation = (t.generation + 1) & maxGeneration
	*t.cold = cold{}
	s.free = append(s.free, t.index)
}

// An id names a session: 31 bits of generation, 32 of slot. An event's data is an id and a bit for the side.
const maxGeneration = 1<<31 - 1

// noID is no session's id: a loop has fewer slots.
const noID = 1<<32 - 1

func (t slot) id() uint64 { return uint64(t.generation)<<32 | uint64(t.index) }

// find returns the slot that was given that id, and whether it still is that session's or task's.
func (s *slabs) find(id uint64) (slot, bool) {
	index := uint32(id)
	if int(index/slabSize) >= len(s.hots) {
		return slot{}, false
	}
	t := s.at(index)
	return t, uint64(t.generation) == id>>32
}

// session returns the slot of a live session.
func (s *slabs) session(id uint64) (slot, bool) {
	t, isLive := s.find(id)
	return t, isLive && t.owner != nil
}
