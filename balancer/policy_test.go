package balancer

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"testing"
)

// A textHead has one text for everything a policy may ask for.
type textHead string

func (h textHead) bytes() []byte {
	if h == "" {
		return nil
	}
	return []byte(h)
}
func (h textHead) Header(string) []byte     { return h.bytes() }
func (h textHead) Cookie(string) []byte     { return h.bytes() }
func (h textHead) QueryValue(string) []byte { return h.bytes() }
func (h textHead) Path() []byte             { return h.bytes() }

// requestOf returns the i-th of many requests with different clients and keys.
func requestOf(i int) *Request {
	return &Request{
		Client: netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}),
		Head:   textHead("room-" + strconv.Itoa(i)),
	}
}

var allPolicies = []string{
	PolicyRoundRobin, PolicyLeastConn, PolicyRandomTwo, PolicyRandom, PolicyIPHash, PolicyHash, PolicySticky,
}

func TestEveryPolicyKeepsTheSharesWithinTwoPoints(t *testing.T) {
	const picks = 10_000
	for _, policy := range allPolicies {
		for _, weights := range [][]int{{1, 1, 1}, {1, 2, 5}, {10, 1, 10, 10}, {100, 300}} {
			t.Run(fmt.Sprint(policy, weights), func(t *testing.T) {
				c := configOf(policy, len(weights))
				total := 0
				for i, w := range weights {
					c.Backend[i].Weight = w
					total += w
				}
				p := newPool(t, c)
				for i := range picks {
					pick(t, p, requestOf(i))
				}
				for i, b := range p.backends {
					share, want := 100*float64(b.Sessions())/picks, 100*float64(weights[i])/float64(total)
					if math.Abs(share-want) > 2 {
						t.Errorf("backend %d of weight %d has %.1f%% of the sessions; want %.1f%% within 2 points", i, weights[i], share, want)
					}
				}
			})
		}
	}
}

func TestSharesOfShortSessions(t *testing.T) {
	// Sessions that end at once leave no load to compare, so turns, draws and keys decide alone.
	for _, policy := range allPolicies {
		t.Run(policy, func(t *testing.T) {
			p := newPool(t, configOf(policy, 4))
			counts := make(map[*Backend]int)
			for i := range 10_000 {
				b := pick(t, p, requestOf(i))
				b.Release(Ended)
				counts[b]++
			}
			for _, b := range p.backends {
				if share := float64(counts[b]) / 100; math.Abs(share-25) > 2 {
					t.Errorf("%s got %.1f%% of the picks; want 25%% within 2 points", b.Name(), share)
				}
			}
		})
	}
}

func TestThousandBackendsGetTheirShares(t *testing.T) {
	for _, policy := range []string{PolicyRoundRobin, PolicyLeastConn} {
		p := newPool(t, configOf(policy, 1000))
		for i := range 10_000 {
			pick(t, p, requestOf(i))
		}
		for _, b := range p.backends {
			if b.Sessions() != 10 {
				t.Fatalf("%s: %s has %d of 10,000 sessions on 1,000 backends; want 10", policy, b.Name(), b.Sessions())
			}
		}
	}
}

func TestTriedBackendsAreNotChosenAgain(t *testing.T) {
	for _, policy := range allPolicies {
		t.Run(policy, func(t *testing.T) {
			p := newPool(t, configOf(policy, 5))
			for i := range 200 {
				var tried []*Backend
				for range 5 {
					tried = append(tried, pick(t, p, requestOf(i), tried...))
				}
				seen := make(map[*Backend]bool)
				for _, b := range tried {
					if seen[b] {
						t.Fatalf("request %d was given %s twice", i, b.Name())
					}
					seen[b] = true
				}
				if _, err := p.Pick(t.Context(), requestOf(i), tried); err != ErrNone {
					t.Fatalf("Pick after all were tried = %v; want ErrNone", err)
				}
			}
		})
	}
}

func TestFullBackendIsSkipped(t *testing.T) {
	for _, policy := range allPolicies {
		t.Run(policy, func(t *testing.T) {
			c := configOf(policy, 3)
			for i := range c.Backend {
				c.Backend[i].MaxSessions = int64(10 * (i + 1))
			}
			p := newPool(t, c)
			var live []*Backend
			for i := range 60 {
				live = append(live, pick(t, p, requestOf(i)))
			}
			for i, b := range p.backends {
				if b.Sessions() != c.Backend[i].MaxSessions {
					t.Errorf("%s has %d sessions; want max_sessions %d", b.Name(), b.Sessions(), c.Backend[i].MaxSessions)
				}
			}
			wantFull(t, p, 5)
			live[7].Release(Ended)
			if b := pick(t, p, requestOf(7)); b != live[7] {
				t.Errorf("pick after %s was released = %s", live[7].Name(), b.Name())
			}
		})
	}
}

func TestBackupIsUsedOnlyWhenNoOtherIsAvailable(t *testing.T) {
	for _, policy := range allPolicies {
		t.Run(policy, func(t *testing.T) {
			c := configOf(policy, 3)
			c.Backend[1].Backup = true
			p := newPool(t, c)
			backup := p.backends[1]
			for i := range 100 {
				if pick(t, p, requestOf(i)) == backup {
					t.Fatal("the backup was chosen beside two available backends")
				}
			}
			for _, i := range []int{0, 2} {
				if err := p.Drain(p.backends[i].Name(), 0); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 100 {
				if b := pick(t, p, requestOf(i)); b != backup {
					t.Fatalf("%s was chosen while it drains", b.Name())
				}
			}
			if err := p.Undrain(p.backends[0].Name()); err != nil {
				t.Fatal(err)
			}
			if pick(t, p, requestOf(1)) == backup {
				t.Error("the backup was chosen after another came back")
			}
		})
	}
}

func TestPickOfAnEmptyPoolIsErrNone(t *testing.T) {
	p := newPool(t, configOf(PolicyLeastConn, 1))
	if err := p.Drain(p.backends[0].Name(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pick(t.Context(), &Request{}, nil); err != ErrNone {
		t.Errorf("Pick of a pool that drains = %v; want ErrNone", err)
	}
}
