package driver

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sluice/proxy/relay"
)

// A kind is a driver over a sort of connection. One suite is played for all kinds (kinds_linux_test.go has those of Linux).
type kind struct {
	name        string
	open        func(testing.TB) Driver
	pair        func(t testing.TB, small bool) (peer, gateway net.Conn) // small: kernel buffers are
	isVirtual   bool                                                    // clocks jump: the script is played in a bubble of testing/synctest
	hasReset    bool                                                    // the peers see a reset as such
	tls         security                                                // by side: it speaks TLS
	changesKeys bool                                                    // the peers change the keys of their TLS now and then
	isShared    bool                                                    // all sessions are of one connection, which bears few resets
	// wrap makes the ends of a side from those of its connection; nil: they are the same.
	wrap     func(side relay.Side, isSmall bool, peer, gateway net.Conn) (net.Conn, net.Conn)
	isPaused func(*Handle, relay.Side) bool // reading of the side stops for the other side's queue
}

var kinds = []*kind{
	{name: "goroutine over TCP", open: openGoroutine, pair: tcpPair, hasReset: true, isPaused: isPausedInGoroutines},
	{name: "goroutine over memory", open: openGoroutine, pair: func(testing.TB, bool) (a, b net.Conn) { return memoryPair() },
		isVirtual: true, hasReset: true, isPaused: isPausedInGoroutines},
}

func openGoroutine(testing.TB) Driver { return NewGoroutine(nil) }

func isPausedInGoroutines(h *Handle, side relay.Side) bool {
	p := h.controller.(*goroutineSession)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.IsPaused(side)
}

// play runs a script for each kind, all kinds at once.
func play(t *testing.T, script func(*testing.T, *kind)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			if k.isVirtual {
				synctest.Test(t, func(t *testing.T) { script(t, k) })
			} else {
				script(t, k)
			}
		})
	}
}

// A tested driver checks at the end of its test that nothing is left in it.
type tested struct {
	Driver
	owners []*owner
}

// openTested opens a driver, which the end of the test closes.
func openTested(t testing.TB, k *kind) *tested {
	d := &tested{Driver: k.open(t)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		if n := d.QueuedBytes(); n != 0 {
			t.Errorf("QueuedBytes = %d without a session; want 0", n)
		}
		for _, o := range d.owners {
			if n := o.count.Load(); n != 1 {
				t.Errorf("SessionEnded was called %d times; want 1", n)
			}
		}
	})
	return d
}

// An exchange is one session with its two peers.
type exchange struct {
	*owner
	driver          *tested
	client, backend *peer
	handle          *Handle
	kind            *kind
	config          *relay.Config
}

// A setup is what a script wants of its exchange.
type setup struct {
	config  relay.Config // what is 0 is taken from the defaults
	early   [2]string
	isSmall [2]bool                   // small kernel buffers, by side
	before  func(gateway [2]net.Conn) // is called before Relay with what it will be given; nil: nothing is
}

// begin opens a driver with one session.
func begin(t *testing.T, k *kind, s setup) *exchange {
	t.Helper()
	return join(t, openTested(t, k), k, s)
}

// join adds a session to a driver.
func join(t testing.TB, d *tested, k *kind, s setup) *exchange {
	t.Helper()
	x := &exchange{owner: newOwner(), driver: d, handle: &Handle{}, kind: k, config: s.filled()}
	d.owners = append(d.owners, x.owner)
	var ends [2]net.Conn
	x.client, ends[relay.Client] = newPeer(t, k, relay.Client, s.isSmall[relay.Client])
	x.backend, ends[relay.Backend] = newPeer(t, k, relay.Backend, s.isSmall[relay.Backend])
	if s.before != nil {
		s.before(ends)
	}
	d.Relay(Params{
		Config: x.config,
		Early:  [2][]byte{[]byte(s.early[0]), []byte(s.early[1])},
		Owner:  x.owner,
		Handle: x.handle,
	}, ends[relay.Client], ends[relay.Backend])
	return x
}

func newPeer(t testing.TB, k *kind, side relay.Side, small bool) (p *peer, gateway net.Conn) {
	conn, gateway := k.connect(t, side, small)
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{t, side, conn}, gateway
}

// connect makes a connection of a side, on which the handshake of TLS is done if the kind has it.
func (k *kind) connect(t testing.TB, side relay.Side, small bool) (peer, gateway net.Conn) {
	peer, gateway = k.pair(t, small)
	if k.changesKeys {
		conn, ours := rekeyingPair(t, side, peer, gateway)
		return &rekeyingPeer{Conn: conn, socket: peer}, ours
	}
	peer, gateway = k.tls.secured(t, side, peer, gateway)
	if k.wrap != nil {
		return k.wrap(side, small, peer, gateway)
	}
	return peer, gateway
}

// both returns a duration for each side.
func both(d time.Duration) [2]time.Duration { return [2]time.Duration{d, d} }

// filled returns the configuration with the defaults of the example file.
func (s *setup) filled() *relay.Config {
	c := s.config
	for d, value := range map[*time.Duration]time.Duration{
		&c.PongTimeout[relay.Client]: 10 * time.Second, &c.PongTimeout[relay.Backend]: 10 * time.Second, &c.CloseTimeout: 5 * time.Second, &c.WriteTimeout: time.Minute,
	} {
		if *d == 0 {
			*d = value
		}
	}
	if c.BackendLost == 0 {
		c.BackendLost = 1011
	}
	if c.ClientLost == 0 {
		c.ClientLost = 1001
	}
	return &c
}

// peers returns the side's peer and the other one.
func (x *exchange) peers(side relay.Side) (p, other *peer) {
	if side == relay.Client {
		return x.client, x.backend
	}
	return x.backend, x.client
}

// eachSide plays a script from both ends.
func eachSide(t *testing.T, script func(*testing.T, *kind, relay.Side)) {
	play(t, func(t *testing.T, k *kind) {
		script(t, k, relay.Client)
		script(t, k, relay.Backend)
	})
}

// wantPassed checks that so much time has passed, and where clocks jump that no more has.
func (x *exchange) wantPassed(t testing.TB, since time.Time, d time.Duration) {
	t.Helper()
	passed := time.Since(since)
	if passed < d || x.kind.isVirtual && passed > d+10*time.Millisecond {
		t.Errorf("it took %v; want %v", passed, d)
	}
}

// eventually waits for something that another goroutine is about to bring about.
func eventually(t testing.TB, what string, isSo func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !isSo(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happens: %s", what)
		}
	}
}

// An owner notes the ends that it is told of.
type owner struct {
	results chan Result
	count   atomic.Int32
	once    sync.Once
}

func newOwner() *owner { return &owner{results: make(chan Result, 1)} }

// SessionEnded implements Owner.
func (o *owner) SessionEnded(r Result) {
	o.count.Add(1)
	o.once.Do(func() { o.results <- r })
}

// wantResult waits for the session's end.
func (o *owner) wantResult(t testing.TB) Result {
	t.Helper()
	select {
	case r := <-o.results:
		return r
	case <-time.After(patience):
		t.Fatal("the session doesn't end")
		return Result{}
	}
}

// wantVerdict waits for the session's end.
func (o *owner) wantVerdict(t testing.TB, initiator relay.Initiator, code uint16, reason relay.Reason) Result {
	t.Helper()
	r := o.wantResult(t)
	if v := r.Verdict; v.Initiator != initiator || v.Code != code || v.Reason != reason {
		t.Errorf("verdict %v %d %v; want %v %d %v", v.Initiator, v.Code, v.Reason, initiator, code, reason)
	}
	return r
}

// smallBytes is what small kernel buffers are set to; the kernel doubles it.
const smallBytes = 8 << 10

// tcpPair connects two sockets over loopback.
func tcpPair(t testing.TB, small bool) (peer, gateway net.Conn) {
	t.Helper()
	var control func(network, address string, c syscall.RawConn) error
	if small {
		control = shrink
	}
	ctx := context.Background()
	ln, err := (&net.ListenConfig{Control: control}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err = (&net.Dialer{Control: control}).DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	gateway, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return peer, gateway
}
