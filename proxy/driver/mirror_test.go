package driver

import (
	"slices"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// Faults B13: over every kind of transport, with both drivers.
func TestAMirroredPingReachesTheOtherSideAndItsPongGoesNoFurther(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		x := begin(t, k, setup{config: relay.Config{Pings: relay.MirrorPings}})
		p, other := x.peers(side)
		p.write(p.text("before"), p.ping("alive?"), p.ping("really?"), p.text("after"))
		other.want("data, the first ping, data", slices.Concat(p.text("before"), p.ping("alive?"), p.text("after")))
		p.wantFrame("its pong", isFin|opPong, "alive?")
		p.wantFrame("the other pong", isFin|opPong, "really?")
		other.write(other.pong("alive?"), other.text("here"))
		p.want("the data alone", other.text("here"))
		// A pong may come before the goroutine that has written the ping knows that it has. Then its time is not measured.
		for end := time.Now().Add(patience); ; {
			if st, isLive := x.handle.Stats(); isLive && st.RTT[side.Other()] > 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("no round-trip time is known")
			}
			p.write(p.ping("once more?"))
			other.want("the ping", p.ping("once more?"))
			p.wantFrame("its pong", isFin|opPong, "once more?")
			other.write(other.pong("once more?"), other.text("here"))
			p.want("the data alone", other.text("here"))
		}
	})
}
