package driver

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

const (
	dripping   = 200  // clients that read a byte a second
	roundTrips = 2000 // a measurement
)

// oneLoop is a kind of session, over TCP, of which all are of one loop.
func oneLoop() *kind {
	return &kind{pair: tcpPair, open: openOneLoop}
}

// A turn never blocks: a backend that takes nothing and clients that take next to nothing are no matter to the other sessions
// of their loop. The latencies compared are of one run.
func TestSessionsThatTakeNothingDoNotSlowTheOthersOfTheirLoop(t *testing.T) {
	k := oneLoop()
	d := openTested(t, k)
	var echoes []*exchange
	for range 5 {
		x := join(t, d, k, setup{})
		go echo(x)
		echoes = append(echoes, x)
	}
	medianLatency(echoes) // warm
	before := medianLatency(echoes)

	stopped := join(t, d, k, setup{isSmall: [2]bool{true, true}})
	stopped.client.writeAll(stopped.client.frame(isFin|opBinary, make([]byte, 4<<20)))
	for range dripping {
		x := join(t, d, k, setup{isSmall: [2]bool{true, true}})
		x.backend.writeAll(x.backend.frame(isFin|opBinary, make([]byte, 1<<20)))
		go drip(x.client)
	}
	eventually(t, "all of them are stalled", func() bool { return d.QueuedBytes() > (dripping+1)*lowMark })
	during := medianLatency(echoes)
	t.Logf("median latency %v alone, %v beside %d stalled sessions", before, during, dripping+1)
	if during > 3*before+time.Millisecond {
		t.Errorf("median latency %v beside stalled sessions; %v without them", during, before)
	}
}

// question is the payload both ways.
var question = make([]byte, 64)

// echo is a backend's, until its connection ends.
func echo(x *exchange) {
	asked := make([]byte, len(x.client.frame(isFin|opBinary, question)))
	answer := x.backend.frame(isFin|opBinary, question)
	for {
		if _, err := io.ReadFull(x.backend.conn, asked); err != nil {
			return
		}
		if _, err := x.backend.conn.Write(answer); err != nil {
			return
		}
	}
}

// medianLatency takes the sessions in turn.
func medianLatency(echoes []*exchange) time.Duration {
	var all []time.Duration
	for i := range roundTrips {
		c := echoes[i%len(echoes)].client
		start := time.Now()
		c.write(c.frame(isFin|opBinary, question))
		c.read(2 + len(question))
		all = append(all, time.Since(start))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// drip is a client's, until its connection ends.
func drip(c *peer) {
	b := make([]byte, 1)
	for {
		if _, err := c.conn.Read(b); err != nil {
			return
		}
		select {
		case <-time.After(time.Second):
		case <-c.Context().Done():
			return
		}
	}
}

// Faults C1.
func TestStalledSessionsHoldNoMorePipesThanTheirLoopMayHave(t *testing.T) {
	k := oneLoop()
	d := openTested(t, k)
	l := d.Driver.(*Loops).loops[0].Load()
	var all []*exchange
	var frame []byte
	for range 3 * maxPipes {
		x := join(t, d, k, setup{isSmall: [2]bool{true, true}})
		frame = x.backend.frame(isFin|opBinary, make([]byte, 1<<20))
		x.backend.writeAll(frame)
		all = append(all, x)
	}
	count := func() (pipes int) {
		l.do(func() { pipes = l.pipeCount })
		return pipes
	}
	eventually(t, "all of them are stalled", func() bool {
		for _, x := range all {
			if st, _ := x.handle.Stats(); st.Queued[0] == 0 {
				return false
			}
		}
		return true
	})
	if n := count(); n == 0 || n > maxPipes {
		t.Errorf("%d pipes; want some, and %d at most", n, maxPipes)
	}
	for _, x := range all {
		x.client.want("the whole frame", frame)
	}
	if n := count(); n > maxPipes {
		t.Errorf("%d pipes; want %d at most", n, maxPipes)
	}
}

// Faults C8: what the kernel keeps for a client that reads nothing is bounded, and for one that reads it is not.
func TestOnlyASideThatReadsMayHaveMuchInTheKernel(t *testing.T) {
	k := oneLoop()
	d := openTested(t, k)
	l := d.Driver.(*Loops).loops[0].Load()
	onSocket := func(x *exchange, do func(fd int)) {
		l.do(func() {
			if s, isLive := l.slots.session(x.handle.id); isLive {
				do(int(s.socket[relay.Client].fd))
			} else {
				t.Error("the session has ended")
			}
		})
	}
	bound := func(x *exchange) (bytes int) {
		onSocket(x, func(fd int) { bytes, _ = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT) })
		return bytes
	}
	reads, stands := join(t, d, k, setup{isSmall: [2]bool{true, false}}), join(t, d, k, setup{isSmall: [2]bool{true, false}})
	frames := bytes.Repeat(reads.backend.frame(isFin|opBinary, make([]byte, 1<<20)), wideAfter>>20+8)
	for _, x := range []*exchange{reads, stands} {
		onSocket(x, epoll.Tune)
		x.backend.writeAll(frames)
	}
	reads.client.want("all frames", frames)
	if n := bound(reads); n != 0 {
		t.Errorf("%d bytes at most wait in the kernel for a client that has read %d, want the system's bound", n, len(frames))
	}
	if n := bound(stands); n == 0 {
		t.Error("no bound for a client that has read nothing")
	}
}
