package load

import (
	"math"
	"time"

	"github.com/gobwas/ws"
)

// pushTraffic is the traffic of the mode push: it takes what comes.
type pushTraffic struct {
	recorder *recorder
	most     int64
	size     int64 // of each message; -1: whatever it is
	begun    bool
	received int64
	got      int64
}

func (r *pushTraffic) data(_ time.Duration, _ ws.OpCode, p []byte, isEnd bool) *fault {
	r.got += int64(len(p))
	if !isEnd {
		return nil
	}
	if r.size >= 0 && r.got != r.size {
		return faultf("altered", "message of %d bytes; asked for %d", r.got, r.size)
	}
	r.got = 0
	if r.begun { // what came while others were opening is not measured
		r.received++
		r.recorder.messages++
	}
	return nil
}

func (r *pushTraffic) isDone() bool { return r.received >= r.most }

func (r *pushTraffic) stop(time.Duration) { r.most = math.MinInt64 }

func (r *pushTraffic) begin(time.Duration)          { r.begun = true }
func (r *pushTraffic) pending(time.Duration) []byte { return nil }
func (r *pushTraffic) advance(time.Duration, int)   {}
func (r *pushTraffic) isBorder() bool               { return true }
func (r *pushTraffic) due() time.Duration           { return 0 }
func (r *pushTraffic) pong([]byte) *fault           { return nil }
func (r *pushTraffic) missing() int64               { return 0 }
