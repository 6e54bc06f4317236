package balancer

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

var errDown = errors.New("connection refused")

// fakeBackends are reached without a network, so that a test may run in its own time. Those
// in down refuse.
type fakeBackends struct {
	mu     sync.Mutex
	down   map[string]bool
	dialed map[string]int
	err    error // of each dial; nil: as down says
}

func newFakeBackends() *fakeBackends {
	return &fakeBackends{down: make(map[string]bool), dialed: make(map[string]int)}
}

func (bs *fakeBackends) set(name string, isDown bool) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	bs.down[name] = isDown
}

func (bs *fakeBackends) setError(err error) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	bs.err = err
}

func (bs *fakeBackends) count(name string) int {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	return bs.dialed[name]
}

// dial is an Owner's Dial.
func (bs *fakeBackends) dial(_ context.Context, b *Backend) (net.Conn, error) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	bs.dialed[b.Name()]++
	if bs.err != nil {
		return nil, bs.err
	}
	if bs.down[b.Name()] {
		return nil, errDown
	}
	near, far := net.Pipe()
	_ = far.Close()
	return near, nil
}

// run runs p until the test ends. It is called in a bubble of synctest.
func run(t *testing.T, p *Pool, owner Owner) {
	t.Helper()
	if owner.Dial == nil {
		owner.Dial = newFakeBackends().dial
	}
	go p.Run(t.Context(), owner)
	t.Cleanup(p.Close)
}

// newLoggedPool returns a pool whose log lines are kept.
func newLoggedPool(t *testing.T, c Config) (*Pool, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	p, err := New(c, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.random = seeded()
	reset(t, p, c)
	return p, logs
}

// wantLogged compares the messages since the last call, and forgets them. Lines about single failures are left
// to the tests of those.
func wantLogged(t *testing.T, logs *observer.ObservedLogs, want ...string) {
	t.Helper()
	entries := logs.TakeAll()
	var got []string
	for _, e := range entries {
		if e.Message != "backend failure" {
			got = append(got, e.Message)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("logged %q; want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("logged %q; want %q", got, want)
		}
	}
}

// wantState compares the state of a backend.
func wantState(t *testing.T, b *Backend, want State) {
	t.Helper()
	if got := b.State(); got != want {
		t.Fatalf("%s is %v; want %v", b.Name(), got, want)
	}
}

// counts picks n times and returns how often each backend was chosen; each place is released.
func counts(t *testing.T, p *Pool, n int) map[*Backend]int {
	t.Helper()
	chosen := make(map[*Backend]int)
	for i := range n {
		b := pick(t, p, requestOf(i))
		b.Release(Ended)
		chosen[b]++
	}
	return chosen
}

// fail uses b n times with an outcome.
func fail(p *Pool, b *Backend, o Outcome, n int) {
	for range n {
		p.picks.Lock()
		b.sessions.Add(1)
		p.picks.Unlock()
		b.Release(o)
	}
}
