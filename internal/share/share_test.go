package share

import (
	"net/netip"
	"testing"
)

// Faults B1.
func TestOneAddressLeavesPlacesFree(t *testing.T) {
	for _, test := range []struct{ places, weight, want int64 }{
		{1, 1, 1}, {2, 1, 2}, {4, 1, 3}, {4096, 1, 2049}, // weight 1: a half
		{1, 8, 1}, {8, 8, 8}, {10, 8, 9}, {9000, 8, 8001}, // weight 8: eight ninths
	} {
		held := int64(0)
		for Allows(held, test.places-held, test.weight) {
			held++
		}
		if held != test.want {
			t.Errorf("one address gets %d of %d places with weight %d, want %d", held, test.places, test.weight, test.want)
		}
	}
}

func TestManyGreedyAddressesLeavePlacesFree(t *testing.T) {
	const places, greedy = 4096, 63
	free, held := int64(places), [greedy]int64{}
	for isMore := true; isMore; {
		isMore = false
		for i := range held {
			if Allows(held[i], free, 1) {
				held[i]++
				free--
				isMore = true
			}
		}
	}
	if free < places/(greedy+1)-1 || !Allows(0, free, 1) {
		t.Errorf("%d greedy addresses leave %d of %d places free, want %d", greedy, free, places, places/(greedy+1))
	}
}

func TestAKeyIsAnAddressOrAnIPv6Network(t *testing.T) {
	key := func(s string) Key { return KeyOf(netip.MustParseAddr(s)) }
	for _, same := range [][2]string{{"2001:db8::1", "2001:db8::2:0:0:1"}, {"fe80::1%eth0", "fe80::2%eth1"}, {"192.0.2.1", "::ffff:192.0.2.1"}} {
		if key(same[0]) != key(same[1]) {
			t.Errorf("%s and %s count as two", same[0], same[1])
		}
	}
	all := map[Key]string{{}: "no address"}
	for _, s := range []string{"2001:db8::1", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", "0.0.0.0", "::1", "::ffff:192.0.2.3"} {
		if other, isKnown := all[key(s)]; isKnown {
			t.Errorf("%s counts as %s", s, other)
		}
		all[key(s)] = s
	}
	if (KeyOf(netip.Addr{}) != Key{}) {
		t.Error("a client without an address counts as one")
	}
}
