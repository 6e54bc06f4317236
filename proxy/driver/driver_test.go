package driver

import (
	"context"
	"testing"

	"sluice/proxy/relay"
)

func TestCloseCutsEverySessionAndReturnsWhenTheirOwnersKnow(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		d := openTested(t, k)
		var all []*exchange
		for range 10 {
			x := join(t, d, k, setup{})
			x.client.write(x.client.text("hello"))
			x.backend.want("data", x.client.text("hello"))
			all = append(all, x)
		}
		if err := d.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, x := range all {
			if n := x.count.Load(); n != 1 {
				t.Errorf("SessionEnded was called %d times before Close returned; want 1", n)
			}
			x.client.wantCut("Close")
			x.backend.wantCut("Close")
		}
		if err := d.Close(context.Background()); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	})
}

func TestASessionThatComesAfterCloseIsCut(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		if k.wrap != nil {
			t.Skip("a stream doesn't come without its connection")
		}
		d := openTested(t, k)
		if err := d.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			x := join(t, d, k, setup{})
			x.wantResult(t)
			x.client.wantCut("the driver is closed")
			x.backend.wantCut("the driver is closed")
			x.handle.CloseBoth(1000, relay.ReasonDrain)
			if _, isLive := x.handle.Stats(); isLive {
				t.Error("Stats of a session that never was")
			}
		}
		d.Totals()
	})
}

func TestAHandleDoesNothingWhenItsSessionIsOver(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		d := openTested(t, k)
		old := join(t, d, k, setup{})
		old.client.reset()
		old.backend.close()
		old.wantResult(t)
		x := join(t, d, k, setup{}) // in the same slot of a loop
		old.handle.CloseBoth(1000, relay.ReasonDrain)
		if _, isLive := old.handle.Stats(); isLive {
			t.Error("Stats of a session that is over")
		}
		x.client.write(x.client.text("alive"))
		x.backend.want("data of another session", x.client.text("alive"))
	})
}

func TestAConnectionThatIsLostBeforeRelayIsTold(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		if k.wrap != nil {
			t.Skip("a stream has no connection of its own to lose")
		}
		d := openTested(t, k)
		x := &exchange{owner: newOwner(), driver: d, handle: &Handle{}, kind: k}
		d.owners = append(d.owners, x.owner)
		client, clientEnd := newPeer(t, k, relay.Client, false)
		_, backendEnd := newPeer(t, k, relay.Backend, false)
		_ = backendEnd.Close()
		s := setup{}
		d.Relay(Params{Config: s.filled(), Owner: x.owner, Handle: x.handle}, clientEnd, backendEnd)
		client.wantClose("the backend's loss", 1011, "backend lost")
		client.close()
		x.wantResult(t)
	})
}
