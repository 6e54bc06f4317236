package gateway

import (
	"fmt"
	"testing"

	"sluice/internal/config"
)

// Faults C2.
func TestDescriptorsHoldConnectionsWithTheirBackends(t *testing.T) {
	both := needs{client: true, backend: true}
	for _, test := range []struct{ descriptors, connections, sessions int }{
		{64, 16, 14},
		{400, 150, 132},
		{1024, 384, 336},
		{65_536, 32_256, 31_744},
		{1_048_576, 523_776, 523_264},
	} {
		connections := both.connectionsOf(test.descriptors)
		if got := both.maxSessions(0, connections); connections != test.connections || got != test.sessions {
			t.Errorf("%d descriptors hold %d connections and %d sessions, want %d and %d",
				test.descriptors, connections, got, test.connections, test.sessions)
		}
		if kept := test.descriptors - 2*connections; kept < 32 {
			t.Errorf("of %d descriptors %d are left for all else", test.descriptors, kept)
		}
	}
	if got := both.maxSessions(1000, 150); got != 150 {
		t.Errorf("1000 sessions are configured, and 150 connections are possible: the limit is %d", got)
	}
	if got := both.maxSessions(100, 150); got != 100 {
		t.Errorf("100 sessions are configured, and 150 connections are possible: the limit is %d", got)
	}
}

func TestSessionsThatShareConnectionsNeedFewerDescriptors(t *testing.T) {
	backends := needs{client: true}
	connections := backends.connectionsOf(20_000)
	if got := backends.maxSessions(0, connections); connections != 18_976 || got != 18_464 {
		t.Errorf("20,000 descriptors hold %d connections and %d sessions to backends over HTTP/2; want 18976 and 18464", connections, got)
	}
	if got := backends.maxSessions(60_000, connections); got != connections {
		t.Errorf("60,000 sessions with a connection of a client each: the limit is %d", got)
	}
	neither := needs{}
	if got := neither.maxSessions(60_000, connections); got != 60_000 {
		t.Errorf("60,000 sessions without a connection of their own: the limit is %d", got)
	}
}

func TestWhatSessionsNeedIsThatOfTheConfiguration(t *testing.T) {
	for _, test := range []struct {
		name, http2 string
		protocols   []string
		want        needs
	}{
		{"HTTP/1.1", "off", []string{"http/1.1"}, needs{true, true}},
		{"requests over HTTP/2", "http", []string{"http/1.1"}, needs{true, true}},
		{"WebSocket over HTTP/2", "websocket", []string{"http/1.1"}, needs{false, true}},
		{"backends over HTTP/2", "off", []string{"h2", "h2"}, needs{true, false}},
		{"one backend over HTTP/1.1", "off", []string{"h2", "http/1.1"}, needs{true, true}},
		{"both", "websocket", []string{"h2"}, needs{false, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := fmt.Sprintf("[[listener]]\nname = \"l\"\naddress = \"127.0.0.1:0\"\nhttp2 = %q\n", test.http2)
			for i, protocol := range test.protocols {
				text += fmt.Sprintf("[[pool]]\nname = \"p%d\"\nprotocol = %q\nbackend = [{ address = \"127.0.0.1:1\" }]\n[[route]]\npath = \"/%d\"\npool = \"p%d\"\n", i, protocol, i, i)
			}
			file, err := config.Parse("test.toml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if got := needsOf(file); got != test.want {
				t.Errorf("%+v; want %+v", got, test.want)
			}
		})
	}
}
