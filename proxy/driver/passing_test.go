package driver

import (
	"bytes"
	"testing"

	"sluice/proxy/relay"
)

func TestFramesPassBothWaysUntouched(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		for _, n := range []int{0, 1, 125, 126, 0xffff, 0x10000, 300 << 10} {
			payload := bytes.Repeat([]byte{0x5a}, n)
			frame := x.client.frame(isFin|opBinary, payload)
			done := x.client.writeAll(frame)
			x.backend.want("the client's frame with its masking key", frame)
			<-done
			frame = x.backend.frame(isFin|opBinary, payload)
			done = x.backend.writeAll(frame)
			x.client.want("the backend's frame", frame)
			<-done
		}
	})
}

func TestFragmentsPassWithControlFramesBetweenThem(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		c := x.client
		first, last := c.frame(opText, []byte("Hel")), c.frame(isFin|opContinuation, []byte("lo"))
		c.write(first, c.ping("between"), last)
		x.backend.want("the fragments without the ping", append(first, last...))
		c.wantFrame("the pong", isFin|opPong, "between")
	})
}

func TestAFrameThatComesByteByByteIsTheSame(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		c := x.client
		data := c.frame(isFin|opBinary, bytes.Repeat([]byte("x"), 300))
		for _, b := range bytes.Join([][]byte{c.ping("one"), data, c.ping("two"), c.text("end")}, nil) {
			c.write([]byte{b})
		}
		x.backend.want("the data", append(data, c.text("end")...))
		c.wantFrame("the first pong", isFin|opPong, "one")
		c.wantFrame("the second pong", isFin|opPong, "two")
	})
}

func TestEarlyBytesOfBothSidesComeFirst(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		c, b := &peer{side: relay.Client}, &peer{side: relay.Backend}
		half := c.text("split in two")
		x := begin(t, k, setup{early: [2]string{
			string(c.text("early")) + string(c.ping("early ping")) + string(half[:5]), string(b.text("welcome")),
		}})
		x.client.write(half[5:], c.text("late"))
		x.backend.want("what was early, then the rest", bytes.Join([][]byte{c.text("early"), half, c.text("late")}, nil))
		got := string(x.client.read(len("xxwelcomexxearly ping")))
		pong, welcome := "\x8a\x0aearly ping", string(b.text("welcome"))
		if got != pong+welcome && got != welcome+pong {
			t.Errorf("client got %q; want the backend's early frame and the pong", got)
		}
	})
}

func TestPingsPassIfTheyAreForwarded(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{config: relay.Config{Pings: relay.ForwardPings}})
		x.client.write(x.client.ping("are you there"))
		x.backend.want("the client's ping", x.client.ping("are you there"))
		x.backend.write(x.backend.pong("are you there"))
		x.client.want("the backend's pong", x.backend.pong("are you there"))
	})
}

func TestCountsAndTotalsTellWhatPassed(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		c, b := x.client, x.backend
		c.write(c.frame(opText, []byte("ab")), c.frame(isFin|opContinuation, []byte("c")), c.ping("p"))
		c.wantFrame("the pong", isFin|opPong, "p")
		b.write(b.text("hello"))
		c.want("the backend's frame", b.text("hello"))
		want := [2]relay.Counts{{Frames: 2, Messages: 1, Bytes: 3}, {Frames: 1, Messages: 1, Bytes: 5}}
		st, isLive := x.handle.Stats()
		if !isLive || st.Counts != want {
			t.Errorf("Stats = %+v, %v; want counts %+v", st, isLive, want)
		}
		totals := x.driver.Totals()
		if got := totals.Bytes; got != [2]uint64{3, 5} {
			t.Errorf("Totals.Bytes = %v of a live session; want 3 and 5", got)
		}
		b.want("the fragments", append(c.frame(opText, []byte("ab")), c.frame(isFin|opContinuation, []byte("c"))...))
		c.write(c.closing(1000, ""))
		b.wantClose("the client's close", 1000, "")
		b.write(b.closing(1000, ""))
		c.wantClose("the answer", 1000, "")
		c.close()
		b.close()
		if r := x.wantResult(t); r.Counts != want {
			t.Errorf("Result.Counts = %+v; want %+v", r.Counts, want)
		}
		totals = x.driver.Totals()
		for _, f := range []struct {
			side   relay.Side
			opcode int
			want   uint64
		}{
			{relay.Client, opText, 1}, {relay.Client, opContinuation, 1}, {relay.Client, opPing, 1}, {relay.Client, opClose, 1},
			{relay.Backend, opText, 1}, {relay.Backend, opPong, 0}, {relay.Backend, opClose, 1},
		} {
			if got := totals.Frames[f.side][f.opcode]; got != f.want {
				t.Errorf("Totals.Frames[%v][%x] = %d; want %d", f.side, f.opcode, got, f.want)
			}
		}
	})
}
