package proxy

import (
	"testing"

	"go.uber.org/zap"

	"sluice/balancer"
)

func TestAProbeOfAPoolThatSendsProxyHeadersBeginsWithALocalOne(t *testing.T) {
	const local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" // version 2, LOCAL, no address
	for sends, want := range map[bool]string{true: local, false: ""} {
		pool, err := balancer.New(balancer.Config{
			Name: "p", Policy: balancer.PolicyRoundRobin, SendProxy: sends,
			Backend: []balancer.BackendConfig{{Address: "127.0.0.1:9000", Weight: 1}},
		}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if got := string(probeOpening(pool)); got != want {
			t.Errorf("send_proxy %v: a probe begins with %q; want %q", sends, got, want)
		}
		pool.Close()
	}
}
