package driver

import (
	"slices"
	"testing"

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
		eventually(t, "the round-trip time is known", func() bool {
			st, isLive := x.handle.Stats()
			return isLive && st.RTT[side.Other()] > 0
		})
	})
}
