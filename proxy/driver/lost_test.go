package driver

import (
	"bytes"
	"testing"

	"sluice/proxy/relay"
)

func TestABackendThatIsResetGivesTheClient1011(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		x.backend.reset()
		x.client.wantClose("the backend's loss", 1011, "backend lost")
		x.client.write(x.client.closing(1011, ""))
		x.client.wantEnd("both directions have ended")
		x.client.close()
		x.wantVerdict(t, relay.ByBackend, 1011, lossReason(k))
	})
}

func TestAClientThatIsResetGivesTheBackend1001(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{})
		x.client.reset()
		x.backend.wantClose("the client's loss", 1001, "client lost")
		x.backend.write(x.backend.closing(1001, ""))
		x.backend.close()
		x.wantVerdict(t, relay.ByClient, 1001, lossReason(k))
	})
}

// lossReason is how a reset looks: where streams know none, like an end.
func lossReason(k *kind) relay.Reason {
	if k.hasReset {
		return relay.ReasonReset
	}
	return relay.ReasonLost
}

func TestAHalfClosedSideStillGetsTheOthersDataAndClose(t *testing.T) {
	for side, want := range map[relay.Side]struct {
		code   uint16
		text   string
		reason relay.Reason
	}{relay.Client: {1001, "client lost", relay.ReasonLost}, relay.Backend: {1011, "backend lost", relay.ReasonEOF}} {
		t.Run(side.String(), func(t *testing.T) {
			play(t, func(t *testing.T, k *kind) {
				x := begin(t, k, setup{})
				p, other := x.peers(side)
				p.write(p.text("last"))
				p.shut()
				other.want("what came before the end", p.text("last"))
				other.wantClose("the end", want.code, want.text)
				data := other.frame(isFin|opBinary, bytes.Repeat([]byte("x"), 200<<10))
				done := other.writeAll(append(data, other.closing(1000, "")...))
				p.want("what the other side still had to say", data)
				p.wantClose("its close", 1000, "")
				<-done
				p.wantEnd("both directions have ended")
				p.close()
				other.close()
				x.wantVerdict(t, relay.Initiator(side), want.code, want.reason)
			})
		})
	}
}

func TestASideLostInsideAFrameCutsTheOtherWithoutAClose(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{})
		p, other := x.peers(side)
		half := p.text("this frame never ends")[:12]
		p.write(half)
		other.want("half a frame", half)
		p.reset()
		other.wantCut("its frame can't be finished")
		x.wantResult(t)
	})
}

func TestAResetOfASideThatIsNotReadLosesNothingThatArrived(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{isSmall: [2]bool{true, false}})
		c, b := x.client, x.backend
		frame := b.frame(isFin|opBinary, bytes.Repeat([]byte("x"), 8<<10))
		var sent []byte
		for !k.isPaused(x.handle, relay.Backend) {
			b.write(frame)
			sent = append(sent, frame...)
			eventually(t, "the gateway has read it, or reads no more", func() bool {
				st, _ := x.handle.Stats()
				return st.Counts[relay.Backend].Frames == uint64(len(sent)/len(frame)) || k.isPaused(x.handle, relay.Backend)
			})
		}
		b.write(frame) // stays in the gateway's kernel: it doesn't read now
		sent = append(sent, frame...)
		eventually(t, "all has arrived there", func() bool { return arrived(b.conn) })
		b.reset()
		c.want("all that the backend sent", sent)
		c.wantClose("the backend's loss", 1011, "backend lost")
		c.close()
		x.wantResult(t)
	})
}

func TestASideThatEndsWhileItIsNotReadLosesNothing(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{isSmall: [2]bool{true, true}})
		p, other := x.peers(side)
		frame := p.frame(isFin|opBinary, bytes.Repeat([]byte("x"), 1<<20))
		done := p.writeAll(append(frame, p.closing(1000, "bye")...))
		eventually(t, "it isn't read", func() bool { return k.isPaused(x.handle, side) })
		other.want("the frame", frame)
		other.wantClose("the close after it", 1000, "bye")
		<-done
		p.close()
		other.close()
		x.wantResult(t)
	})
}

func TestAClientThatCannotBeWrittenToIsStillReadToItsEnd(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		x := begin(t, k, setup{isSmall: [2]bool{true, false}})
		c, b := x.client, x.backend
		done := b.writeAll(b.frame(isFin|opBinary, make([]byte, 1<<20)))
		eventually(t, "the backend isn't read", func() bool { return k.isPaused(x.handle, relay.Backend) })
		c.write(c.text("last words"))
		eventually(t, "they have arrived", func() bool { return arrived(c.conn) })
		c.reset()
		b.want("what the client sent", c.text("last words"))
		b.wantClose("the client's loss", 1001, "client lost")
		b.close()
		<-done
		x.wantResult(t)
	})
}
