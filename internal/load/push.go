package load

import (
	"math"
	"time"

	"github.com/gobwas/ws"
)

// pushTraffic is the traffic of the mode push: it only receives.
type pushTraffic struct {
	recorder *recorder
	most     int64
	size     int64 // of each message; -1: any
	begun    bool
	received int64
	got      int64
}

func (p *pushTraffic) data(_ time.Duration, _ ws.OpCode, part []byte, isEnd bool) *fault {
	p.got += int64(len(part))
	if !isEnd {
		return nil
	}
	if p.size >= 0 && p.got != p.size {
		return faultf("altered", "message of %d bytes; asked for %d", p.got, p.size)
	}
	p.got = 0
	if p.begun { // messages before all sessions are open are not measured
		p.received++
		p.recorder.messages++
	}
	return nil
}

func (p *pushTraffic) isDone() bool { return p.received >= p.most }

func (p *pushTraffic) stop(time.Duration) { p.most = math.MinInt64 }

func (p *pushTraffic) begin(time.Duration)          { p.begun = true }
func (p *pushTraffic) pending(time.Duration) []byte { return nil }
func (p *pushTraffic) advance(time.Duration, int)   {}
func (p *pushTraffic) isBorder() bool               { return true }
func (p *pushTraffic) due() time.Duration           { return 0 }
func (p *pushTraffic) pong([]byte) *fault           { return nil }
func (p *pushTraffic) missing() int64               { return 0 }
