package gateway

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	queueInterval = 10 * time.Second
	queueMin      = 64 << 20 // bytes; less stays for the next sessions that stand still

	heapInterval = time.Second
	heapRoom     = 16 << 20 // bytes that handshakes may allocate, at least, between two collections
	garbageMin   = 4 << 20  // bytes; less isn't worth a collection
	quietMost    = 1 << 20  // bytes allocated within heapInterval: there are few handshakes
)

// manageMemory keeps the memory of the process small until ctx ends. It returns memory to the system that the runtime by itself would collect
// up to two minutes later, and return more slowly still: that of queues in which little waits any more, and what a burst of handshakes has
// left.
func (g *Gateway) manageMemory(ctx context.Context) {
	queues, heap := time.NewTicker(queueInterval), time.NewTicker(heapInterval)
	defer queues.Stop()
	defer heap.Stop()
	before := int64(0) // of what has been allocated for queues: what was collected
	use := newHeapUse()
	for {
		select {
		case <-ctx.Done():
			return
		case <-queues.C:
			g.panics.Guard(room, func() {
				inUse, allocated := g.driver.QueuedBytes(), g.driver.QueueMemory()
				if kept := allocated - before; kept-inUse < max(queueMin, kept/2) {
					return
				}
				before = allocated - inUse
				runtime.GC() // the pools of the driver keep what they have for one collection more
				debug.FreeOSMemory()
			})
		case <-heap.C:
			g.panics.Guard(room, func() {
				use.look()
				if percent := use.percent(); percent != use.isSet && os.Getenv("GOGC") == "" {
					debug.SetGCPercent(percent)
					use.isSet = percent
				}
				if use.hasGarbage() {
					debug.FreeOSMemory()
				}
			})
		}
	}
}

// heapUse is how the heap is used. look updates it.
type heapUse struct {
	live      uint64 // bytes that the last collection has found in use
	garbage   uint64 // bytes that are in use no more, as far as is known, and not returned to the system
	allocated uint64 // bytes in all
	recent    uint64 // bytes that were allocated between the last two looks
	isSet     int    // debug.SetGCPercent
	samples   []metrics.Sample
}

func newHeapUse() *heapUse {
	return &heapUse{samples: []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
	}}
}

func (u *heapUse) look() {
	metrics.Read(u.samples)
	var objects, free, allocated uint64
	for i, to := range []*uint64{&u.live, &objects, &free, &allocated} {
		*to = u.samples[i].Value.Uint64()
	}
	u.garbage = objects - min(u.live, objects) + free
	u.recent, u.allocated = allocated-u.allocated, allocated
}

// percent returns by how much the heap is to grow between two collections, as for debug.SetGCPercent: by half, since sessions live for hours, but
// a small one by heapRoom. A collection after each few megabytes would take an eighth of the time of handshakes.
func (u *heapUse) percent() int {
	percent := 50
	for percent < 800 && u.live*uint64(percent)/100 < heapRoom {
		percent *= 2
	}
	return percent
}

// hasGarbage reports whether a collection and the return of free memory are worth it: there is much of it, and handshakes don't need it again
// at once.
func (u *heapUse) hasGarbage() bool {
	return u.recent < quietMost && u.garbage >= max(garbageMin, u.live/4)
}
