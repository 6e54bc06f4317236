package handover

import (
	"bytes"
	"testing"

	"sluice/balancer"
	"sluice/proxy"
	"sluice/proxy/driver"
	"sluice/proxy/session"
	"sluice/tls"
)

// TestPartsOfForm1AreRead reads what is inside PoolsAndKeys and Sessions.
func TestPartsOfForm1AreRead(t *testing.T) {
	backend := balancer.Identity{Name: "b1", Network: "tcp", Address: "10.0.0.1:9000", HasTLS: true, ServerName: "b1.example.com"}
	checkForm1(t, []sample{
		{"pools", 0, &[]balancer.PoolState{{
			Name: "chat",
			Backends: []balancer.BackendState{{
				Backend: backend, IsDraining: true, DrainLeft: 30e9, IsEjected: true, EjectionLeft: -5e9, Ejections: 2, IsDown: true, IsProbed: true,
				ProbesAgainst: 1, WarmFor: 4e9, Failures: 3, FailuresAge: 6e9, Losses: 5, LossesAge: 7e9, HasAnswered: true,
			}},
			Found: []balancer.FoundState{{Text: "srv://_ws._tcp.example.com", Backends: []balancer.FoundBackend{{Backend: backend, Weight: 9, Backup: true}}}},
		}}, 0},
		{"keys", 0, &map[string]tls.TicketState{"public": {Keys: [][]byte{bytes.Repeat([]byte{3}, 32), bytes.Repeat([]byte{4}, 32)}, Left: 8e9}}, 0},
		{"session", 0, &proxy.SessionState{
			Session: session.State{
				ID: 77, Start: 1_700_000_000e9, Listener: "public",
				Route:   session.RouteState{Listener: "public", Host: "*.example.com", Path: "/chat", Name: "chat.example.com/chat", Pool: "chat", Drained: 1012},
				Backend: backend, Client: []byte{192, 0, 2, 1, 0x39, 0x30},
				Host: []byte("chat.example.com"), Path: []byte("/chat/\xff"), Query: []byte("a=1"), Protocol: []byte("v1"),
				ClientTLS: 0x0304, BackendTLS: 0x0303, HasDeflate: true,
			},
			Driver: driver.State{
				Relay: *relaySample(),
				Sides: [2]driver.SideState{
					{TLS: recordSample(), Queue: []byte("waits"), Part: []byte{23, 3, 3, 1}, KeysDueAt: 11, KeysEarned: 12, IsWide: true},
					{Held: []byte{0x8a, 0}, Carry: []byte{0x89, 0x7d, 1}},
				},
			},
			Config: *configSample(),
		}, 0},
	})
}
