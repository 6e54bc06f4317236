package balancer

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// benchPolicies are all policies.
var benchPolicies = []string{
	PolicyRoundRobin, PolicyLeastConn, PolicyRandomTwo, PolicyRandom, PolicyIPHash, PolicyHash, PolicySticky,
}

// benchHead has one value for everything.
type benchHead []byte

func (h benchHead) Header(string) []byte     { return h }
func (h benchHead) Cookie(string) []byte     { return h }
func (h benchHead) QueryValue(string) []byte { return h }
func (h benchHead) Path() []byte             { return h }

// BenchmarkPick takes a place and gives it back: what a session costs the pool in all, on a pool
// that nothing else uses. It shows neither the cost of finding a header or a cookie in a request
// nor caches that other work has emptied. Run with -cpu 1,2: on two CPUs both want the same lock.
func BenchmarkPick(b *testing.B) {
	for _, policy := range benchPolicies {
		for _, n := range []int{3, 1000} {
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				p := newPool(b, configOf(policy, n))
				cookie := p.members[n/2].cookie.token
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					text := []byte("room 0000")
					if policy == PolicySticky {
						text = []byte(cookie)
					}
					client := [4]byte{192, 0, 2}
					r := &Request{Head: benchHead(text)}
					for i := 0; pb.Next(); i++ {
						if policy == PolicyHash {
							text[5], text[6] = byte(i>>8), byte(i)
						}
						client[2], client[3] = byte(i>>8), byte(i)
						r.Client = netip.AddrFrom4(client)
						pick, err := p.Pick(context.Background(), r, nil)
						if err != nil {
							b.Error(err)
							return
						}
						pick.Backend.Release(Ended)
					}
				})
			})
		}
	}
}

// BenchmarkRebuild swaps the snapshot of 1,000 members, as each change of a state does.
func BenchmarkRebuild(b *testing.B) {
	for _, policy := range []string{PolicyLeastConn, PolicyRoundRobin, PolicyHash, PolicySticky} {
		b.Run(policy, func(b *testing.B) {
			p := newPool(b, configOf(policy, 1000))
			p.mu.Lock()
			defer p.mu.Unlock()
			for b.Loop() {
				p.rebuild(time.Time{})
			}
		})
	}
}

// BenchmarkOwner finds the owner of a slot that nobody has asked for yet among 1,000 members: what
// the first pick of a slot costs more than the later ones.
func BenchmarkOwner(b *testing.B) {
	for _, weight := range []int{1, 2} {
		b.Run(fmt.Sprintf("weight%d", weight), func(b *testing.B) {
			c := configOf(PolicyHash, 1000)
			c.Backend[0].Weight = weight
			o := newPool(b, c).snapshot.Load().tiers[tierPrimary].owners
			for i := uint64(0); b.Loop(); i++ {
				o.find(mix(i))
			}
		})
	}
}
