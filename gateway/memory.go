package gateway

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	memoryInterval = 10 * time.Second
	releaseMin     = 64 << 20 // bytes; less stays for the next sessions that stand still
)

// releaseMemory returns the memory of queues to the system once little waits in them any more, until ctx ends. By itself the runtime
// collects it up to two minutes later where little else is allocated, and returns it more slowly still.
func (g *Gateway) releaseMemory(ctx context.Context) {
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	before := int64(0) // of what has been allocated: what was collected
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.panics.Guard(room, func() {
				inUse, allocated := g.driver.QueuedBytes(), g.driver.QueueMemory()
				if kept := allocated - before; kept-inUse < max(releaseMin, kept/2) {
					return
				}
				before = allocated - inUse
				runtime.GC() // the pools of the driver keep what they have for one collection more
				debug.FreeOSMemory()
			})
		}
	}
}
