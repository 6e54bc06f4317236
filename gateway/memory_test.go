package gateway

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// sink keeps what a test allocates.
var sink []byte

func TestGarbageIsReturnedOnceLittleIsAllocated(t *testing.T) {
	use := newHeapUse()
	collects := func() (isEnough bool) { // what other tests have left ends beside this one
		for range 100 {
			debug.FreeOSMemory()
			use.look()
			if use.look(); !use.hasGarbage() {
				return true
			}
			time.Sleep(10 * time.Millisecond)
		}
		return false
	}
	if !collects() {
		t.Errorf("after collections %d bytes of garbage are worth another one", use.garbage)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for range 64 {
		sink = make([]byte, 1<<20)
	}
	use.look()
	if use.hasGarbage() {
		t.Error("a collection is forced while much is allocated")
	}
	use.look()
	if !use.hasGarbage() {
		t.Errorf("%d bytes of garbage stay, after %d were allocated", use.garbage, use.recent)
	}
	if !collects() {
		t.Errorf("%d bytes of garbage are left by collections", use.garbage)
	}
	runtime.KeepAlive(sink)
}

func TestASmallHeapHasRoomForHandshakesAndALargeOneGrowsByHalf(t *testing.T) {
	for live, want := range map[uint64]int{0: 800, 1 << 20: 800, 4 << 20: 400, 8 << 20: 200, 10 << 20: 200, 16 << 20: 100, 32 << 20: 50, 1 << 30: 50} {
		use := heapUse{live: live}
		if got := use.percent(); got != want {
			t.Errorf("%d bytes live: %d %%; want %d", live, got, want)
		}
	}
}
