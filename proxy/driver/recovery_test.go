package driver

import (
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/proxy/relay"
)

// panics are those that a driver under test has recovered.
type panics struct {
	mu     sync.Mutex
	causes []any // guarded by mu
}

func (p *panics) handle(_ string, cause any, stack []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.causes = append(p.causes, cause)
	if len(stack) == 0 {
		p.causes = append(p.causes, "no stack")
	}
}

func (p *panics) want(t *testing.T, parts ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	isSo := len(p.causes) == len(parts)
	for i := 0; isSo && i < len(parts); i++ {
		text, isText := p.causes[i].(string)
		if err, isErr := p.causes[i].(error); isErr {
			text, isText = err.Error(), true
		}
		isSo = isText && strings.Contains(text, parts[i])
	}
	if !isSo {
		t.Errorf("recovered %q; want %q", p.causes, parts)
	}
}

// survivors plays a script for the kinds whose clock is real, with a driver that recovers panics.
func survivors(t *testing.T, script func(t *testing.T, d *tested, k *kind, p *panics)) {
	t.Parallel()
	for _, k := range kinds {
		if k.isVirtual || k.name == "goroutine over TLS 1.3" {
			continue // the latter has a queue for all that it writes: no memory would be asked for when a script wants that
		}
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			p, own := new(panics), *k
			own.open = func(t testing.TB) Driver { return openRecovering(t, k, p.handle) }
			script(t, openTested(t, &own), &own, p)
		})
	}
}

// poolsOf returns the memory that a driver lends.
func poolsOf(d Driver) *pools {
	if g, isGoroutine := d.(*Goroutine); isGoroutine {
		return g.pools
	}
	return poolsOfLoops(d)
}

// wantEcho checks that a session relays both ways.
func (x *exchange) wantEcho(t testing.TB, what string) {
	t.Helper()
	x.client.write(x.client.text("there"))
	x.backend.want(what, x.client.text("there"))
	x.backend.write(x.backend.text("and back"))
	x.client.want(what, x.backend.text("and back"))
}

func TestAPanicEndsItsSessionAloneWith1011(t *testing.T) {
	survivors(t, func(t *testing.T, d *tested, k *kind, p *panics) {
		isArmed := new(atomic.Bool)
		poolsOf(d.Driver).pendings.New = func() any {
			if isArmed.Swap(false) {
				panic("injected")
			}
			return new(pending)
		}
		var all []*exchange
		for range 5 {
			x := join(t, d, k, setup{})
			x.wantEcho(t, "before the panic")
			all = append(all, x)
		}
		one, others := all[2], append(all[:2:2], all[3:]...)
		isArmed.Store(true)
		one.client.write(one.client.text("lost")[:1]) // to be kept, in memory that can't be had
		one.client.wantClose("the panic", 1011, "internal error of the gateway")
		one.backend.wantClose("the panic", 1011, "internal error of the gateway")
		for _, x := range others {
			x.wantEcho(t, "after the panic")
		}
		one.client.close()
		one.backend.wantCut("the client has gone")
		one.wantVerdict(t, relay.Gateway, 1011, relay.ReasonInternal)
		p.want(t, "injected")
		x := join(t, d, k, setup{})
		x.wantEcho(t, "a new session")
	})
}

func TestASessionThatPanicsWhileItIsEndedIsCut(t *testing.T) {
	survivors(t, func(t *testing.T, d *tested, k *kind, p *panics) {
		other, one := join(t, d, k, setup{}), join(t, d, k, setup{})
		one.wantEcho(t, "before the panic")
		forgetConfig(one.handle) // each use of it panics
		one.client.write(one.client.text("hello"))
		for _, side := range []*peer{one.client, one.backend} {
			if _, err := side.readOn(); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the %s's connection goes on", side.side)
			}
		}
		one.wantVerdict(t, relay.Gateway, 1011, relay.ReasonInternal)
		other.wantEcho(t, "after the panics")
		p.want(t, "nil pointer", "nil pointer")
	})
}

func TestASessionThatPanicsAfterItsClosesIsCut(t *testing.T) {
	survivors(t, func(t *testing.T, d *tested, k *kind, p *panics) {
		other, one := join(t, d, k, setup{}), join(t, d, k, setup{})
		one.client.write(one.client.closing(1000, "bye"))
		one.backend.wantClose("the client's close", 1000, "bye")
		one.backend.write(one.backend.closing(1000, "bye"))
		one.client.wantClose("the answer", 1000, "bye")
		forgetConfig(one.handle) // the deadline of the wait for their ends panics, and would come again at once
		one.wantVerdict(t, relay.ByClient, 1000, relay.ReasonClose)
		other.wantEcho(t, "after the panics")
		p.want(t, "nil pointer", "nil pointer")
	})
}

// What a panic has torn can't go on: a receiver must not take the next frame for the rest of the one before.
func TestASideWhoseBytesWereLostInAPanicIsCut(t *testing.T) {
	survivors(t, func(t *testing.T, d *tested, k *kind, p *panics) {
		x := join(t, d, k, setup{})
		isArmed := new(atomic.Bool)
		poolsOf(d.Driver).pendings.New = func() any {
			if isArmed.Swap(false) {
				panic("injected")
			}
			return new(pending)
		}
		isArmed.Store(true)
		// The first frame passes and is in the batch when the second one's beginning is to be kept.
		x.client.write(append(x.client.text("lost"), x.client.text("never ends")[:1]...))
		x.backend.wantCut("a frame was lost")
		x.client.wantClose("the panic", 1011, "internal error of the gateway")
		x.client.close()
		x.wantVerdict(t, relay.Gateway, 1011, relay.ReasonInternal)
		p.want(t, "injected")
	})
}
