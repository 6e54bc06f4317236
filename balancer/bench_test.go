package balancer

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
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
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					text := []byte("room 0000")
					client := [4]byte{192, 0, 2}
					r := &Request{Head: benchHead(text)}
					for i := 0; pb.Next(); i++ {
						text[5], text[6], client[2], client[3] = byte(i>>8), byte(i), byte(i>>8), byte(i)
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
