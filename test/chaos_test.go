//go:build unix

package test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	chaosTime    = flag.Duration("chaos", 10*time.Second, "how long the traffic of TestChaos lasts")
	chaosSeed    = flag.Uint64("chaos.seed", 0, "seed of TestChaos; 0 means a new one")
	chaosClients = flag.Int("chaos.clients", 32, "number of clients of TestChaos")
)

// Whatever peers send and valid configurations say, the process goes on, no code of it panics, and nothing stays of what has ended.
// Clients and backends behave and misbehave at random, while an operator replaces the configuration again and again.
//
// The seed decides what each client and the operator do, but not when: a run with the same seed is similar, not the same.
func TestChaos(t *testing.T) {
	t.Parallel()
	seed := *chaosSeed
	for seed == 0 {
		seed = newSeed()
	}
	t.Logf("-chaos.seed=%d", seed)
	for i, driver := range []string{"loop", "goroutine"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			clients := []int{*chaosClients * 3 / 4, *chaosClients / 4}[i]
			c := startChaos(t, driver, seed+uint64(i))
			o := &chaosOperator{chaos: c, dice: newDice(c.seed, 0), http: http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 3 * patience}}
			c.calm(t, o)
			c.traffic(o, max(clients, 1), min(*chaosTime/4, 5*time.Second)) // what the process makes only once exists from here on
			c.calm(t, o)
			before := c.taken(t)
			c.traffic(o, max(clients, 1), *chaosTime)
			c.calm(t, o)
			c.wantPlaces(t, o)
			c.wantTaken(t, before)
			if n := c.gateway.count(t, "sluice_recovered_panics_total"); n != 0 {
				t.Errorf("the gateway recovered from %d panics", n)
			}
			t.Logf("%s; before %+v, after %+v", c.summary(), before, c.taken(t))
		})
	}
}

func newSeed() uint64 {
	var p [8]byte
	_, _ = rand.Read(p[:])
	return binary.LittleEndian.Uint64(p[:])
}

// A chaos is a gateway and its peers.
type chaos struct {
	t       *testing.T
	seed    uint64
	site    *chaosSite
	path    string // of the configuration
	gateway *gateway

	backends  []*chaosBackend
	listeners atomic.Pointer[[]listenerView] // that the operator saw last

	acts, sessions, secured, reloads, invalid, reports atomic.Int64

	crash strings.Builder // the beginning of what the process printed for its fatal panic; to be read once the process has ended
}

func startChaos(t *testing.T, driver string, seed uint64) *chaos {
	c := &chaos{t: t, seed: seed, path: filepath.Join(t.TempDir(), "sluice.toml")}
	c.site = c.newSite(t, driver)
	if err := os.WriteFile(c.path, []byte(c.site.calm(0, 0)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(c.path); t.Failed() && err == nil {
			t.Logf("the last configuration:\n%s", text)
		}
	})
	c.gateway = runWatched(t, c.watch, len(listenersAlways), "run", "-config", c.path)
	return c
}

// newSite starts the backends and makes the files.
func (c *chaos) newSite(t *testing.T, driver string) *chaosSite {
	directory := t.TempDir()
	ca := newAuthority(t, directory, "authority")
	s := &chaosSite{driver: driver, directory: directory, authority: ca.cert, tickets: filepath.Join(directory, "tickets")}
	s.certificate = [3]pair{ca.issue(t, "site"), ca.issueRSA(t, "rsa"), ca.issue(t, "other", named("other.test", "*.other.test"))}
	replaceFile(t, s.tickets, []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))))
	secure := &tls.Config{Certificates: []tls.Certificate{*s.certificate[0].certificate()}, NextProtos: []string{"http/1.1"}}
	asking := &tls.Config{Certificates: secure.Certificates, MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
	add := func(network, address string, b *chaosBackend) string {
		b.report = c.report
		c.backends = append(c.backends, b)
		return startChaosBackend(t, network, address, b)
	}
	s.steady = add("tcp", "127.0.0.1:0", &chaosBackend{isSteady: true})
	plain := add("tcp", "127.0.0.1:0", new(chaosBackend))
	s.backends = []string{
		plain,
		"ws://" + add("tcp", "127.0.0.1:0", new(chaosBackend)),
		add("unix", filepath.Join(directory, "backend.sock"), new(chaosBackend)),
		add("tcp", "127.0.0.1:0", &chaosBackend{secure: secure}),
		add("tcp", "127.0.0.1:0", &chaosBackend{secure: asking}),
		add("tcp", "127.0.0.1:0", &chaosBackend{secure: secure, isSteady: true}),
	}
	_, s.named, _ = net.SplitHostPort(plain)
	names := startNameserver(t)
	names.port = uint16(c.backends[0].ln.Addr().(*net.TCPAddr).Port)
	names.set("127.0.0.1")
	s.nameserver = names.conn.LocalAddr().String()
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(collector.Close)
	collector.Config.SetKeepAlivesEnabled(false) // a connection that stays open would count as a leak
	s.collector = collector.URL + "/v1/traces"
	return s
}

// summary says how much has happened.
func (c *chaos) summary() string {
	return fmt.Sprintf("%d acts of clients, %d sessions, %d of them over TLS 1.3, and %d reloads (%d of invalid configurations)",
		c.acts.Load(), c.sessions.Load(), c.secured.Load(), c.reloads.Load(), c.invalid.Load())
}

// traffic lets clients and the operator act for d, or until the gateway ends.
func (c *chaos) traffic(o *chaosOperator, clients int, d time.Duration) {
	stopped := make(chan struct{})
	var acting sync.WaitGroup
	for i := range clients {
		k := &chaosClient{chaos: c, index: uint64(1 + i), sessions: tls.NewLRUClientSessionCache(8)}
		acting.Go(func() { k.run(stopped) })
	}
	acting.Go(func() { o.run(stopped) })
	select {
	case <-time.After(d):
	case <-c.gateway.exited:
	}
	close(stopped)
	acting.Wait()
}

// anyListener returns one of the listeners that the operator saw last. The result is false if there is none, or the gateway has ended.
func (c *chaos) anyListener(d dice) (listenerView, bool) {
	select {
	case <-c.gateway.exited:
		return listenerView{}, false
	default:
	}
	views := c.listeners.Load()
	if views == nil || len(*views) == 0 {
		return listenerView{}, false
	}
	return one(d, *views...), true
}

// mostReports bounds the faults that a run prints.
const mostReports = 10

// report fails the test. Any goroutine of the traffic may call it.
func (c *chaos) report(format string, args ...any) {
	if c.reports.Add(1) <= mostReports {
		c.t.Errorf(format, args...)
	}
}

// watch looks at a line of the log. The goroutine that reads the log calls it.
func (c *chaos) watch(line string) {
	switch {
	case c.crash.Len() > 0:
		if c.crash.Len() < mostReported {
			c.crash.WriteString(line + "\n")
		}
	case strings.HasPrefix(line, "panic: "), strings.HasPrefix(line, "fatal error: "), strings.HasPrefix(line, "SIG"):
		c.crash.WriteString(line + "\n")
	case strings.Contains(line, `"panic recovered"`), strings.Contains(line, "panic serving"), strings.Contains(line, "DATA RACE"):
		c.report("a panic that was recovered: %s", line)
	}
}
