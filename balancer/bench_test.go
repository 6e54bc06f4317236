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

// BenchmarkPick acquires a place and releases it: the whole cost of a session to its pool, on a pool
// that nothing else uses. It shows neither the cost of finding a header or a cookie in a request
// nor caches that other work has emptied. Run with -cpu 1,2: on two CPUs both want the same lock.
func BenchmarkPick(b *testing.B) {
	for _, policy := range benchPolicies {
		for _, n := range []int{3, 1000} {
			b.Run(fmt.Sprintf("%s/%d", policy, n), func(b *testing.B) {
				p := newPool(b, configOf(policy, n))
				cookie := p.backends[n/2].cookie.token
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

// BenchmarkRebuild swaps the snapshot of 1,000 backends, as each change of a state does.
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

// BenchmarkRendezvous computes the backend of a slot among 1,000 backends: the additional cost of the first
// pick of a slot.
func BenchmarkRendezvous(b *testing.B) {
	for _, weight := range []int{1, 2} {
		b.Run(fmt.Sprintf("weight%d", weight), func(b *testing.B) {
			c := configOf(PolicyHash, 1000)
			c.Backend[0].Weight = weight
			r := newPool(b, c).snapshot.Load().levels[levelPrimary].rendezvous
			for i := uint64(0); b.Loop(); i++ {
				r.compute(mix(i))
			}
		})
	}
}
