package gateway

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	memoryInterval = 10 * time.Second
	releaseMin     = 64 << 20 // bytes; less stays for the next sessions that stand still

	garbageInterval = time.Second
	garbageMin      = 4 << 20 // bytes; less isn't worth a collection
)

// releaseMemory returns memory to the system that the runtime by itself would collect up to two minutes later, and return more slowly still:
// that of queues in which little waits any more, and what a burst of handshakes has left. It returns when ctx ends.
func (g *Gateway) releaseMemory(ctx context.Context) {
	queues, garbage := time.NewTicker(memoryInterval), time.NewTicker(garbageInterval)
	defer queues.Stop()
	defer garbage.Stop()
	before := int64(0) // of what has been allocated for queues: what was collected
	heap := newHeapUse()
	for {
		select {
		case <-ctx.Done():
			return
		case <-queues.C:
			g.panics.Guard(room, func() {
				inUse, allocated := g.driver.QueuedBytes(), g.driver.QueueMemory()
				if kept := allocated - before; kept-inUse < max(releaseMin, kept/2) {
					return
				}
				before = allocated - inUse
				runtime.GC() // the pools of the driver keep what they have for one collection more
				debug.FreeOSMemory()
			})
		case <-garbage.C:
			g.panics.Guard(room, func() {
				if heap.isIdle() {
					debug.FreeOSMemory()
				}
			})
		}
	}
}

// heapUse watches how the heap is used.
type heapUse struct {
	samples []metrics.Sample
	cycles  uint64 // of collections, at the last look
}

func newHeapUse() *heapUse {
	return &heapUse{samples: []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}}
}

// isIdle reports whether there was no collection since the last call and much of the heap is garbage, or free and not returned: a busy
// process collects often enough by itself.
func (u *heapUse) isIdle() bool {
	metrics.Read(u.samples)
	cycles, live, objects, free := u.samples[0].Value.Uint64(), u.samples[1].Value.Uint64(), u.samples[2].Value.Uint64(), u.samples[3].Value.Uint64()
	isQuiet := cycles == u.cycles
	u.cycles = cycles
	return isQuiet && objects-min(live, objects)+free >= max(garbageMin, live/4)
}
