package load

import (
	"bytes"
	"math"
	"time"

	"github.com/gobwas/ws"
)

// echoTraffic sends the same message again and again and expects it back. It is the traffic of the modes echo and idle.
type echoTraffic struct {
	template *template // immutable
	recorder *recorder
	most     int64         // messages to send
	window   int64         // closed loop: messages in flight
	interval time.Duration // open loop: from one message to the next; 0: closed loop
	offset   time.Duration // open loop: of the first message, so that sessions don't send in step

	begun    bool
	base     time.Duration   // open loop: when the first message is due
	sentAt   []time.Duration // closed loop: ring, by message
	started  int64           // messages of which a byte was sent
	received int64
	sent     int // bytes of the frame that is being sent; 0 between frames
	got      int // bytes of the message that is being received
}

// newEcho returns the traffic of session id of o.Connections, which sends at most most messages.
func newEcho(o *Options, t *template, r *recorder, id int, most int64) *echoTraffic {
	e := &echoTraffic{template: t, recorder: r, most: most, window: int64(o.Window)}
	if o.Rate > 0 {
		e.interval = max(1, time.Duration(float64(o.Connections)/o.Rate*float64(time.Second)))
		e.offset = e.interval * time.Duration(id) / time.Duration(o.Connections)
		return e
	}
	e.sentAt = make([]time.Duration, o.Window)
	return e
}

func (e *echoTraffic) begin(now time.Duration) { e.begun, e.base = true, now+e.offset }

// allowed returns how many messages may have been started by now.
func (e *echoTraffic) allowed(now time.Duration) int64 {
	switch {
	case !e.begun:
		return 0
	case e.interval == 0:
		return min(e.most, e.received+e.window)
	case now < e.base:
		return 0
	default:
		return min(e.most, int64((now-e.base)/e.interval)+1)
	}
}

func (e *echoTraffic) pending(now time.Duration) []byte {
	// The rest of the current frame, and as many whole ones as are allowed and fit the block.
	end := max(0, e.allowed(now)-e.started) * int64(e.template.frame)
	if e.sent > 0 {
		end += int64(e.template.frame)
	}
	return e.template.block[e.sent:min(end, int64(len(e.template.block)))]
}

func (e *echoTraffic) advance(now time.Duration, n int) {
	frame := e.template.frame
	old := e.sent
	e.sent += n
	count := (e.sent+frame-1)/frame - (old+frame-1)/frame
	for range count {
		if e.interval == 0 {
			e.sentAt[e.started%e.window] = now
		}
		e.started++
	}
	e.sent %= frame
	e.recorder.sentBytes += int64(count) * int64(len(e.template.payload))
}

func (e *echoTraffic) isBorder() bool { return e.sent == 0 }

func (e *echoTraffic) due() time.Duration {
	if e.interval == 0 || !e.begun || e.started >= e.most {
		return 0
	}
	return e.base + time.Duration(e.started)*e.interval
}

func (e *echoTraffic) data(now time.Duration, opcode ws.OpCode, p []byte, isEnd bool) *fault {
	want := e.template.payload[e.got:]
	if e.received >= e.started {
		return faultf("duplicated", "message %d comes; %d were sent", e.received+1, e.started)
	}
	if opcode != ws.OpBinary || len(p) > len(want) || !bytes.Equal(p, want[:len(p)]) || isEnd && len(p) < len(want) {
		return faultf("altered", "message %d differs within %d bytes from byte %d on", e.received+1, len(p), e.got)
	}
	e.got += len(p)
	if !isEnd {
		return nil
	}
	sentAt := e.base + time.Duration(e.received)*e.interval
	if e.interval == 0 {
		sentAt = e.sentAt[e.received%e.window]
	}
	record(e.recorder.latency, max(0, now-sentAt))
	e.recorder.messages++
	e.received++
	e.got = 0
	return nil
}

func (e *echoTraffic) pong([]byte) *fault { return nil }

// stop ends the schedule. Messages that are due by now are still sent: to leave them out would hide a server that is too slow.
func (e *echoTraffic) stop(now time.Duration) {
	if e.interval == 0 {
		e.most = e.started
		return
	}
	e.most = max(e.started, e.allowed(now))
}

func (e *echoTraffic) isDone() bool { return e.received >= e.most && e.sent == 0 }

func (e *echoTraffic) missing() int64 {
	if e.most == math.MaxInt64 {
		return e.started - e.received
	}
	return e.most - e.received
}
