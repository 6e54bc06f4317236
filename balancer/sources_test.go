package balancer

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sluice/balancer/discovery"
	"sluice/balancer/discovery/dnstest"
	"sluice/internal/units"
)

// resolved returns the configuration of a pool that looks up names every 20 ms at a server.
func resolved(server *dnstest.Server, records string, addresses ...string) Config {
	c := configOf(PolicyRoundRobin, 0)
	for _, a := range addresses {
		c.Backend = append(c.Backend, BackendConfig{Address: a, Weight: 3})
	}
	c.Discovery = DiscoveryConfig{
		DNS: records, Server: server.Addr(),
		Interval: units.Duration(20 * time.Millisecond), Timeout: units.Duration(time.Second),
	}
	return c
}

// until waits for a condition, 10 s at most.
func until(t *testing.T, what string, isTrue func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !isTrue(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10s: %s", what)
		}
	}
}

// untilBackends waits until the available backends are these.
func untilBackends(t *testing.T, p *Pool, want ...string) {
	t.Helper()
	until(t, fmt.Sprintf("backends %q", want), func() bool {
		var got []string
		for _, s := range p.Status() {
			if s.State.IsAvailable() {
				got = append(got, s.Name)
			}
		}
		return slices.Equal(got, want)
	})
}

func TestEachAddressOfANameIsABackend(t *testing.T) {
	server := dnstest.New(t)
	server.Set("echo.test", "127.0.0.2", "127.0.0.1", "::1")
	p := newPool(t, resolved(server, discovery.RecordsA, "echo.test:9000", "127.0.0.9:9000"))
	if got := p.Status(); len(got) != 1 || got[0].Name != "127.0.0.9:9000" {
		t.Fatalf("backends before the first answer = %+v; want the address that is none of DNS", got)
	}
	run(t, p, Owner{})
	untilBackends(t, p, "127.0.0.1:9000", "127.0.0.2:9000", "[::1]:9000", "127.0.0.9:9000")
	if w := p.Status()[0].Weight; w != 3 {
		t.Errorf("weight of an address = %d; want its name's 3", w)
	}
}

func TestBackendsFollowDNS(t *testing.T) {
	server := dnstest.New(t)
	server.Set("echo.test", "127.0.0.1", "127.0.0.2")
	p, logs := newLoggedPool(t, resolved(server, discovery.RecordsA, "echo.test:9000"))
	run(t, p, Owner{})
	untilBackends(t, p, "127.0.0.1:9000", "127.0.0.2:9000")
	wantLogged(t, logs)
	second := pick(t, p, requestOf(0))
	for second.Name() != "127.0.0.2:9000" {
		second = pick(t, p, requestOf(0))
	}

	server.Set("echo.test", "127.0.0.1", "127.0.0.3")
	untilBackends(t, p, "127.0.0.1:9000", "127.0.0.3:9000")
	wantState(t, second, Gone)
	logs.TakeAll()

	// Lookups fail: the last backends stay, and one line is logged.
	server.SetMode(dnstest.Failing)
	until(t, "a line of the failure", func() bool { return logs.Len() > 0 })
	failed := server.Questions()
	until(t, "further questions", func() bool { return server.Questions() > failed+4 })
	wantLogged(t, logs, "name not resolved, last backends kept")
	untilBackends(t, p, "127.0.0.1:9000", "127.0.0.3:9000")

	// They succeed again, first without a record, which keeps the last backends, and then with one.
	server.SetMode(dnstest.Answering)
	server.Set("echo.test")
	asked := server.Questions()
	until(t, "a further question", func() bool { return server.Questions() > asked+4 })
	untilBackends(t, p, "127.0.0.1:9000", "127.0.0.3:9000")
	server.Set("echo.test", "127.0.0.2")
	untilBackends(t, p, "127.0.0.2:9000")
	if p.backends[0] != second || second.Sessions() == 0 {
		t.Error("the address that came back is another backend, without its session")
	}
}

func TestSRVRecordsHaveWeightsAndBackups(t *testing.T) {
	server := dnstest.New(t)
	server.Set("a.test", "127.0.0.1")
	server.Set("b.test", "127.0.0.2")
	server.Set("c.test", "127.0.0.3")
	target := dnsmessage.MustNewName
	server.SetRecords("_ws._tcp.test",
		dnsmessage.SRVResource{Priority: 20, Weight: 7, Port: 9003, Target: target("c.test.")},
		dnsmessage.SRVResource{Priority: 10, Weight: 0, Port: 9001, Target: target("a.test.")},
		dnsmessage.SRVResource{Priority: 10, Weight: 5, Port: 9002, Target: target("b.test.")},
		dnsmessage.SRVResource{Priority: 10, Weight: 5, Port: 9002, Target: target("missing.test.")},
	)
	p := newPool(t, resolved(server, discovery.RecordsSRV, "wss://_ws._tcp.test"))
	run(t, p, Owner{})
	untilBackends(t, p, "wss://127.0.0.1:9001", "wss://127.0.0.2:9002", "wss://127.0.0.3:9003")
	statuses := p.Status()
	for i, want := range []struct {
		weight int
		backup bool
		name   string
	}{{1, false, "a.test"}, {5, false, "b.test"}, {7, true, "c.test"}} {
		name, _ := p.backends[i].TLS()
		if s := statuses[i]; s.Weight != want.weight || s.Backup != want.backup || name != want.name {
			t.Errorf("backend %d is %+v of %q; want %+v", i, s, name, want)
		}
	}
}

func TestFailedDialBringsTheNextLookupForward(t *testing.T) {
	server := dnstest.New(t)
	server.Set("echo.test", "127.0.0.1")
	c := resolved(server, discovery.RecordsA, "echo.test:9000")
	c.Discovery.Interval = units.Duration(time.Hour)
	p := newPool(t, c)
	run(t, p, Owner{})
	untilBackends(t, p, "127.0.0.1:9000")
	server.Set("echo.test", "127.0.0.2")
	asked := server.Questions()
	start := time.Now()
	for range 1000 {
		fail(p, p.byID["tcp!127.0.0.1:9000"], Refused, 1)
	}
	untilBackends(t, p, "127.0.0.2:9000")
	if n := server.Questions() - asked; n > 4 {
		t.Errorf("%d questions in %v after 1,000 failed dials; want those of one resolution", n, time.Since(start))
	}
}

func TestSetForgetsNamesThatAreNotListed(t *testing.T) {
	server := dnstest.New(t)
	server.Set("echo.test", "127.0.0.1")
	server.Set("other.test", "127.0.0.2")
	p := newPool(t, resolved(server, discovery.RecordsA, "echo.test:9000"))
	run(t, p, Owner{})
	untilBackends(t, p, "127.0.0.1:9000")
	reset(t, p, resolved(server, discovery.RecordsA, "other.test:9000"))
	untilBackends(t, p, "127.0.0.2:9000")
	until(t, "the old name is forgotten", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.found) == 1
	})
}

// A flakySource reports a list of one address, panics, and reports another one when it is watched
// again.
type flakySource struct{ watched int }

func (s *flakySource) Refresh() {}

func (s *flakySource) Watch(ctx context.Context, report func([]discovery.Backend, error)) {
	s.watched++
	report([]discovery.Backend{{Address: fmt.Sprintf("127.0.0.%d:9000", s.watched)}}, nil)
	if s.watched == 1 {
		panic("broken")
	}
	<-ctx.Done()
}

func TestSourceThatPanicsKeepsItsLastListAndIsWatchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := configOf(PolicyRoundRobin, 0)
		c.Backend = []BackendConfig{{Address: "echo.test:9000", Weight: 1}}
		c.Discovery = DiscoveryConfig{DNS: discovery.RecordsA, Interval: 1, Timeout: 1}
		p := newPool(t, c)
		told := new(recovered)
		ss := newSources(p, told.handle)
		ctx, cancel := context.WithCancel(t.Context())
		ss.running.Go(func() { ss.watch(ctx, "echo.test:9000", new(flakySource)) })
		synctest.Wait()
		told.want(t, "broken")
		untilBackends(t, p, "127.0.0.1:9000")
		time.Sleep(panicPause)
		synctest.Wait()
		untilBackends(t, p, "127.0.0.2:9000")
		cancel()
		ss.stop()
		told.want(t, "broken")
	})
}

func TestBadListOfASourceKeepsTheLastOne(t *testing.T) {
	c := configOf(PolicyRoundRobin, 0)
	c.Backend = []BackendConfig{{Address: "echo.test:9000", Weight: 1}}
	c.Discovery = DiscoveryConfig{DNS: discovery.RecordsA, Interval: 1, Timeout: 1}
	p, logs := newLoggedPool(t, c)
	const name = "echo.test:9000"
	p.discovered(name, []discovery.Backend{{Address: "127.0.0.1:9000"}}, nil)
	for _, list := range [][]discovery.Backend{
		{}, {{Address: "127.0.0.2"}}, {{Address: "127.0.0.2:9000"}, {Address: "ftp://127.0.0.2:21"}}, make([]discovery.Backend, maxDiscovered+1),
	} {
		p.discovered(name, list, nil)
		wantLogged(t, logs, "name not resolved, last backends kept")
		untilBackends(t, p, "127.0.0.1:9000")
		p.discovered(name, []discovery.Backend{{Address: "127.0.0.1:9000"}}, nil)
		wantLogged(t, logs, "name resolved again")
	}
	p.discovered("other.test:9000", []discovery.Backend{{Address: "127.0.0.2:9000"}}, nil)
	untilBackends(t, p, "127.0.0.1:9000")
}

func TestADiscoveredBackendIsAddressedByItsName(t *testing.T) {
	c := configOf(PolicyRoundRobin, 0)
	c.Backend = []BackendConfig{{Address: "Echo.test:80", Weight: 1}}
	c.Discovery = DiscoveryConfig{DNS: discovery.RecordsA, Interval: 1, Timeout: 1}
	p, _ := newLoggedPool(t, c)
	for found, want := range map[string]string{
		"127.0.0.1:9000": "echo.test:9000", "127.0.0.2:80": "echo.test", "wss://127.0.0.3:443": "echo.test", "unix:/run/echo.sock": "localhost",
	} {
		p.discovered("Echo.test:80", []discovery.Backend{{Address: found}}, nil)
		untilBackends(t, p, found)
		if got := p.backends[0].Authority(); got != want {
			t.Errorf("the authority of %s is %q; want %q", found, got, want)
		}
	}
}
