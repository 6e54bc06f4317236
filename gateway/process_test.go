package gateway

import "testing"

// Faults C2.
func TestDescriptorsHoldConnectionsWithTheirBackends(t *testing.T) {
	for _, test := range []struct{ descriptors, connections, sessions int }{
		{64, 16, 14},
		{400, 150, 132},
		{1024, 384, 336},
		{65_536, 32_256, 31_744},
		{1_048_576, 523_776, 523_264},
	} {
		connections := connectionsOf(test.descriptors)
		if got := maxSessions(0, connections); connections != test.connections || got != test.sessions {
			t.Errorf("%d descriptors hold %d connections and %d sessions, want %d and %d",
				test.descriptors, connections, got, test.connections, test.sessions)
		}
		if kept := test.descriptors - 2*connections; kept < 32 {
			t.Errorf("of %d descriptors %d are left for all else", test.descriptors, kept)
		}
	}
	if got := maxSessions(1000, 150); got != 150 {
		t.Errorf("1000 sessions are configured, and 150 connections are possible: the limit is %d", got)
	}
	if got := maxSessions(100, 150); got != 100 {
		t.Errorf("100 sessions are configured, and 150 connections are possible: the limit is %d", got)
	}
}
