package balancer

import (
	"math"
	"net/netip"
	"strconv"
	"testing"
)

// newSplit returns the split among pools of three backends with those weights, named "pool 0", "pool 1" and so on.
func newSplit(t *testing.T, policy string, weights ...int) *Split {
	t.Helper()
	var pools []SplitPool
	for i, weight := range weights {
		c := configOf(policy, 3)
		c.Name = "pool " + strconv.Itoa(i)
		pools = append(pools, SplitPool{newPool(t, c), &c, weight})
	}
	return NewSplit(pools)
}

// poolsOf returns the pool of each of n keys.
func poolsOf(s *Split, n int) []int {
	chosen := make([]int, n)
	for i := range chosen {
		chosen[i] = s.Choose(*requestOf(i))
	}
	return chosen
}

func TestASplitKeepsTheShares(t *testing.T) {
	const requests = 20_000
	for _, policy := range allPolicies {
		for _, weights := range [][]int{{1}, {1, 1}, {95, 5}, {1, 2, 5}, {65535, 1}, {0, 3, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}} {
			s := newSplit(t, policy, weights...)
			count, total := make([]int, len(weights)), 0
			for _, i := range poolsOf(s, requests) {
				count[i]++
			}
			for _, w := range weights {
				total += w
			}
			for i, w := range weights {
				share := float64(w) / float64(total)
				deviation := math.Sqrt(requests * share * (1 - share))
				if off := math.Abs(float64(count[i]) - requests*share); off > 6*deviation {
					t.Errorf("%s, weights %v: pool %d gets %d of %d requests, want %.0f with a deviation of %.0f", policy, weights, i, count[i], requests, requests*share, deviation)
				}
			}
		}
	}
}

func TestAKeyKeepsItsPool(t *testing.T) {
	for _, policy := range []string{PolicyHash, PolicyIPHash} {
		one, other := newSplit(t, policy, 3, 1), newSplit(t, policy, 3, 1)
		for i := range 1000 {
			want := one.Choose(*requestOf(i))
			if again, elsewhere := one.Choose(*requestOf(i)), other.Choose(*requestOf(i)); again != want || elsewhere != want {
				t.Fatalf("%s: key %d is of pool %d, then of %d, and in another process of %d", policy, i, want, again, elsewhere)
			}
		}
	}
}

func TestAChangedWeightMovesTheLeast(t *testing.T) {
	const keys = 20_000
	for _, test := range []struct{ before, after []int }{
		{[]int{95, 5}, []int{90, 10}},
		{[]int{95, 5}, []int{95, 0}},
		{[]int{1, 1, 1}, []int{1, 1, 4}},
		{[]int{1, 0, 1}, []int{1, 1, 1}},
		{[]int{1, 2, 3}, []int{10, 20, 30}},
	} {
		grows := func(i, sumBefore, sumAfter int) float64 {
			return float64(test.after[i])/float64(sumAfter) - float64(test.before[i])/float64(sumBefore)
		}
		sum := func(weights []int) (n int) {
			for _, w := range weights {
				n += w
			}
			return n
		}
		least := 0.0 // the share of the keys that must move
		for i := range test.before {
			least += max(0, grows(i, sum(test.before), sum(test.after)))
		}
		before, after := poolsOf(newSplit(t, PolicyHash, test.before...), keys), poolsOf(newSplit(t, PolicyHash, test.after...), keys)
		moved := 0
		for i := range before {
			if before[i] != after[i] {
				moved++
			}
		}
		if want := least * keys; math.Abs(float64(moved)-want) > 6*math.Sqrt(want)+1 {
			t.Errorf("from %v to %v: %d keys have moved, want about %.0f", test.before, test.after, moved, want)
		}
	}
}

func TestOnlyThePoolWhoseWeightGrowsGetsKeys(t *testing.T) {
	before, after := poolsOf(newSplit(t, PolicyHash, 5, 3, 2), 10_000), poolsOf(newSplit(t, PolicyHash, 5, 7, 2), 10_000)
	for i := range before {
		if before[i] != after[i] && after[i] != 1 {
			t.Fatalf("key %d has moved from pool %d to pool %d", i, before[i], after[i])
		}
	}
}

// The keys of one pool are spread over its backends as all keys are.
func TestTheChoiceOfAPoolDoesNotDecideTheBackend(t *testing.T) {
	const keys = 30_000
	for _, policy := range []string{PolicyHash, PolicyIPHash} {
		c := configOf(policy, 3)
		p := newPool(t, c)
		s := NewSplit([]SplitPool{{p, &c, 1}, {p, &c, 1}, {p, &c, 1}})
		s.pools[1].hash++ // as those of other names
		s.pools[2].hash += 2
		counts, total := map[[2]string]int{}, 0
		for i := range keys {
			b := pick(t, p, requestOf(i))
			b.Release(Ended)
			counts[[2]string{strconv.Itoa(s.Choose(*requestOf(i))), b.Name()}]++
			total++
		}
		for of, n := range counts {
			if share := float64(n) / float64(total); math.Abs(share-1.0/9) > 0.01 {
				t.Errorf("%s: pool and backend %v have %.3f of the keys, want 1/9", policy, of, share)
			}
		}
	}
}

func TestAStickyCookieLeadsToItsPool(t *testing.T) {
	configs := []Config{configOf(PolicySticky, 2), configOf(PolicySticky, 2), configOf(PolicySticky, 2)}
	var pools []SplitPool
	for i := range configs {
		c := &configs[i]
		c.Name, c.Panic = "pool "+strconv.Itoa(i), false
		pools = append(pools, SplitPool{newPool(t, *c), c, i % 2}) // weights 0, 1, 0
	}
	s := NewSplit(pools)
	for i := range pools {
		_, cookie := firstCookie(t, pools[i].Pool)
		for range 50 {
			if got := s.Choose(Request{Head: textHead(cookie)}); got != i {
				t.Fatalf("the cookie of pool %d leads to pool %d", i, got)
			}
		}
	}
	b, cookie := firstCookie(t, pools[2].Pool)
	if err := pools[2].Pool.Drain(b.Name(), 0); err != nil {
		t.Fatal(err)
	}
	if got := s.Choose(Request{Head: textHead(cookie)}); got != 2 {
		t.Errorf("the cookie of a backend that drains leads to pool %d, want 2", got)
	}
	configs[2].Backend = configs[2].Backend[:1]
	reset(t, pools[2].Pool, configs[2])
	for _, value := range []string{"", "x", cookie + "A"} {
		if got := s.Choose(Request{Head: textHead(value)}); got != 1 {
			t.Errorf("the cookie %q leads to pool %d, want 1: that of the weight", value, got)
		}
	}
}

func TestARequestWithoutAKeyGoesToAnyPool(t *testing.T) {
	for policy, r := range map[string]Request{
		PolicyHash:   {Client: netip.MustParseAddr("192.0.2.1"), Head: textHead("")},
		PolicyIPHash: {Head: textHead("x")},
		PolicySticky: {},
	} {
		s, seen := newSplit(t, policy, 1, 1), map[int]bool{}
		for range 100 {
			seen[s.Choose(r)] = true
		}
		if len(seen) != 2 {
			t.Errorf("%s: only %v is chosen", policy, seen)
		}
	}
}

func TestAChoiceOfAPoolDoesNotAllocate(t *testing.T) {
	for _, policy := range allPolicies {
		s := newSplit(t, policy, 3, 1)
		r := Request{Client: netip.MustParseAddr("192.0.2.1"), Head: sameHead{}}
		if n := testing.AllocsPerRun(100, func() { s.Choose(r) }); n != 0 {
			t.Errorf("%s: %v allocations", policy, n)
		}
	}
}

// An sameHead has every field, without an allocation of its own.
type sameHead struct{}

var sameValue = []byte("value")

func (sameHead) Header(string) []byte     { return sameValue }
func (sameHead) Cookie(string) []byte     { return sameValue }
func (sameHead) QueryValue(string) []byte { return sameValue }
func (sameHead) Path() []byte             { return sameValue }
