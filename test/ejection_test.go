//go:build unix

package test

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Faults B9: of three backends one is killed and one stopped. By default both are ejected, clients go elsewhere, and the operator sees which
// and why. They come back when they work again, and no client finds out for the gateway that one doesn't.
func TestAKilledAndAStoppedBackendAreEjectedByDefault(t *testing.T) {
	t.Parallel()
	var echoes []*program
	var addresses []string
	for range 3 {
		p, address := startEcho(t, "127.0.0.1:0")
		echoes, addresses = append(echoes, p), append(addresses, address)
	}
	killed, stopped, sound := addresses[0], addresses[1], addresses[2]
	config := poolOf("policy = \"round_robin\"\n[pool.ejection]\nbase_time = \"1s\"", addresses...)
	g := runGateway(t, strings.Replace(config, "[[route]]\n", "[[route]]\nhandshake_timeout = \"3s\"\n", 1))
	for _, address := range addresses {
		if view := g.backends(t)[address]; view.State != "unprobed" {
			t.Errorf("%s is %s before anything was seen of it", address, view.State)
		}
	}
	for range 3 {
		g.invite(t, nil, "/").leave()
	}
	for _, address := range addresses {
		g.untilState(t, address, "up")
	}

	echoes[0].signal(t, syscall.SIGKILL)
	echoes[1].signal(t, syscall.SIGSTOP)
	areEjected := func() bool {
		views := g.backends(t)
		return views[killed].State == "ejected" && views[stopped].State == "ejected"
	}
	for rounds := 0; rounds < 5 && !areEjected(); rounds++ { // on a busy machine a backend may get too few of the first clients
		var clients sync.WaitGroup
		for range 12 { // those of the stopped backend wait for handshake_timeout
			clients.Go(func() {
				if guest, err := join(g.listeners["public"], nil, "/"); err == nil {
					guest.leave()
				}
			})
		}
		clients.Wait()
	}
	// What had connected to the killed one in time got a reset.
	causes := map[string][]string{killed: {"refused", "handshake_reset"}, stopped: {"handshake_timeout"}}
	sum := func(view backendView, reasons []string) (n int) {
		for _, reason := range reasons {
			n += view.Failures[reason]
		}
		return n
	}
	before := map[string]backendView{}
	for address := range causes {
		before[address] = g.untilState(t, address, "ejected")
	}
	for address, cause := range causes {
		view := before[address]
		if view.LastFailure.Error == "" || view.LastFailure.Since.IsZero() || sum(view, cause) < 3 {
			t.Errorf("%s: %+v; want three failures or more of %q, and the last one", address, view, cause)
		}
		before[address] = g.backends(t)[address]
		g.wantLoggedOnce(t, "backend failure", address) // within a minute
	}
	status, err := exec.Command(sluice, "status", "-admin", g.admin).CombinedOutput()
	if err != nil {
		t.Fatalf("status: %v\n%s", err, status)
	}
	metrics := g.metrics(t)
	for address := range causes {
		for _, want := range []string{
			fmt.Sprintf("sluice_backend_state{backend=%q,pool=\"pool\",state=\"ejected\"} 1\n", address),
			fmt.Sprintf("sluice_backend_up{backend=%q,pool=\"pool\"} 0\n", address),
		} {
			if !strings.Contains(metrics, want) {
				t.Errorf("the metrics lack %s", want)
			}
		}
	}
	if n := strings.Count(string(status), "ejected until"); n != 2 || !strings.Contains(string(status), "fails since") {
		t.Errorf("status shows %d ejected backends, want 2 with their last errors:\n%s", n, status)
	}

	// Trials fail meanwhile.
	news := startStream(t, g)
	eventually(t, patience, "trials of both", func() bool {
		views := g.backends(t)
		return views[killed].Failures["trial"] >= 2 && views[stopped].Failures["trial"] >= 1
	})
	news.wantNoErrors(t)
	if news.slowest > 2*time.Second { // usually some milliseconds; handshake_timeout is 3s
		t.Errorf("a client waited for %v", news.slowest)
	}
	after := g.backends(t)
	for address, cause := range causes {
		if was, is := sum(before[address], cause), sum(after[address], cause); was != is {
			t.Errorf("%d clients went to %s although it was ejected", is-was, address)
		}
	}
	if state := after[sound].State; state != "up" {
		t.Errorf("the sound backend is %s", state)
	}

	echoes[0], _ = startEcho(t, killed)
	echoes[1].signal(t, syscall.SIGCONT)
	for address := range causes {
		g.untilState(t, address, "up")
	}
}
