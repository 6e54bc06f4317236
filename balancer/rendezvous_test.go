package balancer

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"testing"
)

// backendsOf returns the name of the backend of each of n keys.
func backendsOf(t *testing.T, p *Pool, n int) []string {
	t.Helper()
	names := make([]string, n)
	for i := range names {
		b := pick(t, p, requestOf(i))
		b.Release(Ended)
		names[i] = b.Name()
	}
	return names
}

func TestBackendThatGoesMovesOnlyItsOwnKeys(t *testing.T) {
	const keys = 10_000
	for _, policy := range []string{PolicyHash, PolicyIPHash} {
		for _, n := range []int{3, 10, 100} {
			for _, weight := range []int{1, 7} {
				c := configOf(policy, n)
				c.Backend[1].Weight = weight
				p := newPool(t, c)
				before := backendsOf(t, p, keys)

				without := c
				without.Backend = slices.Delete(slices.Clone(c.Backend), 2, 3)
				reset(t, p, without)
				after := backendsOf(t, p, keys)
				gone := addressOf(2)
				moved := 0
				for i := range before {
					if before[i] == after[i] {
						continue
					}
					moved++
					if before[i] != gone {
						t.Fatalf("%s of %d: key %d moved from %s, which stayed, to %s", policy, n, i, before[i], after[i])
					}
				}
				if limit := keys/n + keys*5/100; moved > limit {
					t.Errorf("%s of %d: %d keys moved; want at most %d", policy, n, moved, limit)
				}

				reset(t, p, c)
				if !slices.Equal(backendsOf(t, p, keys), before) {
					t.Errorf("%s of %d: the keys are not where they were after the backend came back", policy, n)
				}
			}
		}
	}
}

func TestDrainingBackendMovesOnlyItsOwnKeys(t *testing.T) {
	p := newPool(t, configOf(PolicyHash, 5))
	before := backendsOf(t, p, 2000)
	if err := p.Drain(addressOf(3), 0); err != nil {
		t.Fatal(err)
	}
	for i, after := range backendsOf(t, p, 2000) {
		if (before[i] == addressOf(3)) == (after == before[i]) {
			t.Fatalf("key %d of %s is %s's after %s drained", i, before[i], after, addressOf(3))
		}
	}
}

func TestEveryProcessHashesAlike(t *testing.T) {
	c := configOf(PolicyHash, 6)
	c.Backend[4].Weight = 3
	p := newPool(t, c)
	other := c
	other.Backend = slices.Clone(c.Backend)
	slices.Reverse(other.Backend)
	q := newPool(t, other)
	if a, b := backendsOf(t, p, 2000), backendsOf(t, q, 2000); !slices.Equal(a, b) {
		t.Error("two pools of the same backends in another order differ")
	}
	// The assignment must not change between versions, which may run side by side.
	got := backendsOf(t, p, 6)
	want := []string{"10.0.0.5:9000", "10.0.0.3:9000", "10.0.0.4:9000", "10.0.0.5:9000", "10.0.0.3:9000", "10.0.0.5:9000"}
	if !slices.Equal(got, want) {
		t.Errorf("owners of the first keys = %q; want %q", got, want)
	}
}

func TestHashWithoutKeyGoesToTheLeastLoaded(t *testing.T) {
	p := newPool(t, configOf(PolicyHash, 3))
	for range 300 {
		pick(t, p, &Request{Head: textHead("")})
	}
	for _, b := range p.backends {
		if b.Sessions() != 100 {
			t.Errorf("%s has %d of 300 sessions without key; want 100", b.Name(), b.Sessions())
		}
	}
}

func TestIPHashTreatsAMappedAddressAsIPv4(t *testing.T) {
	p := newPool(t, configOf(PolicyIPHash, 10))
	for i := range 100 {
		four := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		a := pick(t, p, &Request{Client: four})
		b := pick(t, p, &Request{Client: netip.AddrFrom16(four.As16())})
		if a != b {
			t.Fatalf("%v and its mapped form go to %s and %s", four, a.Name(), b.Name())
		}
	}
}

func TestBoundedLoadHolds(t *testing.T) {
	for _, weights := range [][]int{{1, 1, 1}, {1, 2, 5}} {
		c := configOf(PolicyHash, len(weights))
		c.Hash.BoundedLoad = 1.25
		total := 0
		for i, w := range weights {
			c.Backend[i].Weight = w
			total += w
		}
		p := newPool(t, c)
		// One hot key in ten of all.
		for i := 1; i <= 3000; i++ {
			r := requestOf(0)
			if i%10 == 0 {
				r = requestOf(i)
			}
			pick(t, p, r)
			for k, b := range p.backends {
				limit := math.Ceil(1.25 * float64(i) * float64(weights[k]) / float64(total))
				if float64(b.Sessions()) > limit {
					t.Fatalf("%d of %d sessions on %s of weight %d; the cap is %v", b.Sessions(), i, b.Name(), weights[k], limit)
				}
			}
		}
	}
}

func TestHashSharesOfThousandBackends(t *testing.T) {
	p := newPool(t, configOf(PolicyHash, 1000))
	for i := range 100_000 {
		pick(t, p, &Request{Head: textHead("key" + strconv.Itoa(i))})
	}
	// 65 slots each: 4 deviations are 50 %.
	for _, b := range p.backends {
		if n := b.Sessions(); n < 40 || n > 170 {
			t.Errorf("%s has %d of 100,000 keys on 1,000 backends; want 100 within 70", b.Name(), n)
		}
	}
}
