//go:build unix

package test

import (
	"fmt"
	"testing"
	"time"
)

// oneEach is two backends of one place each.
func oneEach(t *testing.T, keys string) *gateway {
	t.Helper()
	var members []string
	for range 2 {
		members = append(members, fmt.Sprintf("{ address = %q, max_sessions = 1 }", startStub(t, "127.0.0.1:0").address))
	}
	return runGateway(t, poolOf(keys, members...))
}

func TestAFullPoolRefusesAtOnceWithRetryAfter(t *testing.T) {
	t.Parallel()
	g := oneEach(t, "retry_after = \"7s\"")
	one, other := g.invite(t, nil, "/"), g.invite(t, nil, "/")
	if one.backend == other.backend {
		t.Fatalf("two sessions on %s of one place", one.backend)
	}
	start := time.Now()
	if r := g.wantRefused(t, 503); r.retryAfter != "7" || time.Since(start) > time.Second {
		t.Errorf("Retry-After %q after %v; want 7 at once", r.retryAfter, time.Since(start))
	}
	one.leave()
	eventually(t, patience, "the place is free", func() bool { return g.backends(t)[one.backend].Sessions == 0 })
	if got := g.invite(t, nil, "/").backend; got != one.backend {
		t.Errorf("the place that came free is at %s, the session went to %s", one.backend, got)
	}
}

func TestAQueueIsBoundedInNumberAndTime(t *testing.T) {
	t.Parallel()
	g := oneEach(t, "queue_timeout = \"1s\"\nqueue = 1\nretry_after = \"3s\"")
	g.invite(t, nil, "/")
	g.invite(t, nil, "/")
	type answer struct {
		err  error
		took time.Duration
	}
	answers := make(chan answer, 2)
	for range 2 {
		go func() {
			start := time.Now()
			guest, err := join(g.listeners["public"], nil, "/")
			if err == nil {
				_ = guest.conn.Close()
			}
			answers <- answer{err, time.Since(start)}
		}()
	}
	// One finds the queue full; the other one waits, and in vain.
	for _, isLong := range []bool{false, true} {
		got := <-answers
		if r, isRefused := got.err.(*refusal); !isRefused || r.status != 503 || r.retryAfter != "3" {
			t.Errorf("without a place: %v, want 503 with Retry-After: 3", got.err)
		}
		if (got.took >= time.Second) != isLong {
			t.Errorf("refused after %v; with queue_timeout = 1s, waited is %v", got.took, isLong)
		}
	}
}

func TestAWaitForAPlaceIsNotOnTheHandshakesClock(t *testing.T) {
	t.Parallel()
	s := startStub(t, "127.0.0.1:0")
	config := quietBasics + fmt.Sprintf("[[route]]\npool = \"pool\"\nhandshake_timeout = \"200ms\"\n[[pool]]\nname = \"pool\"\nqueue_timeout = \"10s\"\n"+
		"backend = [{ address = %q, max_sessions = 1 }]\n", s.address)
	g := runGateway(t, config)
	one := g.invite(t, nil, "/")
	left := time.AfterFunc(600*time.Millisecond, one.leave)
	defer left.Stop()
	start := time.Now()
	g.invite(t, nil, "/")
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("a session after %v on a backend of one place that was taken", took)
	}
}
