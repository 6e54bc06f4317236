//go:build unix

package test

import (
	"fmt"
	"testing"
)

func TestASickBackendIsGoneAroundAndEjected(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		manner manner
		reason string // under which its failures are counted
	}{
		{"that accepts and never answers", silent, "handshake_timeout"},
		{"that answers 503", busy, "status"},
		{"that resets the connection", reset, "handshake_reset"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			sick, sound := startStub(t, "127.0.0.1:0"), startStub(t, "127.0.0.1:0")
			sick.behave(test.manner)
			config := quietBasics + fmt.Sprintf("[[route]]\npool = \"pool\"\nhandshake_timeout = \"1s\"\n[[pool]]\nname = \"pool\"\npolicy = \"round_robin\"\n"+
				"retries = 1\nretry_on = [\"reset\", \"timeout\"]\nretry_statuses = [503]\nbackend = [{ address = %q }, { address = %q }]\n[pool.ejection]\nfailures = 2\nbase_time = \"1m\"\n",
				sick.address, sound.address)
			g := runGateway(t, config)
			for i := range 10 {
				if got := g.invite(t, nil, "/").backend; got != sound.address {
					t.Fatalf("session %d is at %s", i, got)
				}
			}
			view := g.untilState(t, sick.address, "ejected")
			if view.Failures[test.reason] != 2 || sick.asked.Load() != 2 {
				t.Errorf("%d requests, failures %v; want 2 under %s", sick.asked.Load(), view.Failures, test.reason)
			}
			g.wantLoggedOnce(t, "backend ejected", sick.address)
		})
	}
}

func TestTheLastBackendIsNeverEjectedAndItsAnswerIsTheClients(t *testing.T) {
	t.Parallel()
	s := startStub(t, "127.0.0.1:0")
	s.behave(busy)
	g := runGateway(t, poolOf("retry_statuses = [503]\n[pool.ejection]\nfailures = 1\nbase_time = \"1m\"", s.address))
	for range 3 {
		if r := g.wantRefused(t, 503); r.body != "busy" {
			t.Errorf("body %q, want the backend's own", r.body)
		}
	}
	if view := g.backends(t)[s.address]; view.State != "up" || view.Failures["status"] != 3 {
		t.Errorf("the only backend after three 503: %+v", view)
	}
}

func TestAllBackendsThatRefuseAreToldAs502(t *testing.T) {
	t.Parallel()
	one, other := startStub(t, "127.0.0.1:0"), startStub(t, "127.0.0.1:0")
	one.close()
	other.close()
	g := runGateway(t, poolOf("", one.address, other.address))
	g.wantRefused(t, 502)
	for _, s := range []*stub{one, other} {
		if n := g.backends(t)[s.address].Failures["refused"]; n != 1 {
			t.Errorf("%s was tried %d times; want once", s.address, n)
		}
	}
}
