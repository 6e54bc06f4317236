package limits

import (
	"net/netip"
	"testing"
	"time"
)

func TestClientsOfOneIPv6NetworkCountAsOne(t *testing.T) {
	c := NewClients(PerClient{Sessions: 2})
	now := time.Now()
	acquire := func(s string) bool { return c.Acquire(netip.MustParseAddr(s), now) }
	if !acquire("2001:db8::1") || !acquire("2001:db8::2:0:0:1") || acquire("2001:db8::ffff") {
		t.Error("a /64 doesn't have two places")
	}
	if !acquire("2001:db8:0:1::1") || !acquire("192.0.2.1") || !acquire("192.0.2.2") {
		t.Error("other networks count for the same limit")
	}
	c.Release(netip.MustParseAddr("2001:db8::1"), now)
	if !acquire("2001:db8::3") {
		t.Error("a released place isn't free")
	}
}

func TestTheBucketOfAClientFillsAndIsForgotten(t *testing.T) {
	c := NewClients(PerClient{Rate: 10, Burst: 3})
	now, addr := time.Now(), netip.MustParseAddr("192.0.2.1")
	take := func() (n int) {
		for c.Acquire(addr, now) {
			c.Release(addr, now)
			n++
		}
		return n
	}
	if n := take(); n != 3 {
		t.Errorf("%d at once, want a burst of 3", n)
	}
	now = now.Add(100 * time.Millisecond)
	if n := take(); n != 1 {
		t.Errorf("%d after 100 ms at 10 a second, want 1", n)
	}
	now = now.Add(time.Hour)
	c.sweep(now)
	if len(c.known) != 0 {
		t.Errorf("%d clients are known an hour later", len(c.known))
	}
	if n := take(); n != 3 {
		t.Errorf("%d an hour later, want a burst of 3", n)
	}
}

// Addresses cost an attacker nothing, so the table keeps only addresses that still count for a limit.
func TestTheTableOfClientsDoesNotGrowWithAddressesThatAreGone(t *testing.T) {
	c := NewClients(PerClient{Rate: 1000, Sessions: 1})
	now := time.Now()
	for i := range uint32(100_000) {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		c.Acquire(addr, now)
		now = now.Add(time.Millisecond)
		c.Release(addr, now)
		if len(c.known) > 2*minSweep {
			t.Fatalf("%d clients are known, of which none has a session", len(c.known))
		}
	}
}
