package handshake

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/internal/units"
	"sluice/proxy/reach"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// A script is a Core with an executor that has neither sockets nor a clock.
type script struct {
	t     testing.TB
	core  Core
	gate  *gate
	now   time.Time
	step  Step
	split func(n int) int // how many of n bytes one read returns
}

// A gate is the gateway around the core of a script: one route, whose pool has the backends a and b.
type gate struct {
	route    *route.Route
	pool     *balancer.Pool
	places   int
	refusal  *upgrade.Rejection // of Acquire
	over     *upgrade.Rejection // of Counted
	counted  int                // requests
	refuses  bool
	isPlain  bool
	redirect *upgrade.Rejection
	tracer   Tracer   // or nil
	ended    []string // reasons
	attempts []string // that have failed
}

func (g *gate) Name() string                        { return "public" }
func (g *gate) Tracer() Tracer                      { return g.tracer }
func (g *gate) IsChallenge(r *upgrade.Request) bool { return string(r.Path()) == "/challenge" }
func (g *gate) IsPlain(_ *reach.Client, r *upgrade.Request) bool {
	return g.isPlain && !r.IsWebSocket()
}
func (g *gate) Redirection(*upgrade.Request) *upgrade.Rejection { return g.redirect }
func (g *gate) Refuses() bool                                   { return g.refuses }
func (g *gate) Release(netip.Addr)                              { g.places-- }
func (g *gate) Ended(c *Core)                                   { g.ended = append(g.ended, c.Reason()) }
func (g *gate) Route(_ *reach.Client, r *upgrade.Request) (*route.Route, *upgrade.Rejection) {
	return route.NewTable([]*route.Route{g.route}).Match("public", r)
}
func (g *gate) Identify(c *reach.Client, _ *upgrade.Request, id uint64) {
	c.RequestID = reach.FormatID(id)
}
func (g *gate) Counted(netip.Addr, time.Time) *upgrade.Rejection {
	g.counted++
	return g.over
}
func (g *gate) Acquire(netip.Addr) *upgrade.Rejection {
	if g.refusal == nil {
		g.places++
	}
	return g.refusal
}
func (g *gate) AttemptEnded(_ uint64, _ *balancer.Backend, cause string) {
	g.attempts = append(g.attempts, cause)
}

// setting changes what a script begins with.
type setting struct {
	route func(*route.Config)
	pool  func(*balancer.Config)
}

func newScript(t testing.TB, s setting) *script {
	t.Helper()
	pc := balancer.Config{Name: "pool", Policy: balancer.PolicyRoundRobin, Retries: 1, RetryOn: []string{"connect", "reset"}, Backend: []balancer.BackendConfig{
		{Address: "127.0.0.1:1", Weight: 1}, {Address: "127.0.0.1:2", Weight: 1},
	}}
	if s.pool != nil {
		s.pool(&pc)
	}
	pool, err := balancer.New(pc, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	rc := route.Config{Path: "/chat", Pool: "pool", EncodedSlashes: "refuse",
		HandshakeTimeout: units.Duration(10 * time.Second), ConnectTimeout: units.Duration(3 * time.Second)}
	if s.route != nil {
		s.route(&rc)
	}
	c := &script{t: t, now: time.Unix(1000, 0), split: func(n int) int { return n }}
	c.gate = &gate{route: route.New(&rc, &pc, pool), pool: pool}
	c.step = c.core.Begin(c.gate, reach.NewClient(netip.MustParseAddrPort("192.0.2.1:4711")), new(upgrade.Handshake), c.now, c.now.Add(10*time.Second))
	c.want("begins", ReadClient)
	return c
}

// client makes bytes arrive from the client as long as the Core reads; the rest follows the head.
func (c *script) client(text string) {
	c.t.Helper()
	for len(text) > 0 && c.step == ReadClient {
		buf := &c.core.Memory.FromClient
		n := copy(buf.Free(), text[:c.split(len(text))])
		buf.Grow(n)
		text = text[n:]
		c.step = c.core.ClientRead(n, nil, c.now)
	}
	if len(text) > 0 {
		c.core.Memory.FromClient.Grow(copy(c.core.Memory.FromClient.Free(), text))
	}
}

// asked executes the steps from Dial to ReadBackend.
func (c *script) asked() {
	c.t.Helper()
	c.want("a backend is picked", Dial)
	c.step = c.core.Dialing()
	c.want("connecting", WriteBackend)
	c.core.Out()
	c.step = c.core.Sent(nil, c.now)
	c.want("the request is sent", ReadBackend)
}

// backend makes bytes arrive from the backend.
func (c *script) backend(text string) {
	c.t.Helper()
	for len(text) > 0 && c.step == ReadBackend {
		buf := &c.core.Memory.FromBackend
		n := copy(buf.Free(), text[:c.split(len(text))])
		buf.Grow(n)
		text = text[n:]
		c.step = c.core.Answered(n, nil, c.now)
	}
	if len(text) > 0 {
		c.core.Memory.FromBackend.Grow(copy(c.core.Memory.FromBackend.Free(), text))
	}
}

func (c *script) want(what string, step Step) {
	c.t.Helper()
	if c.step == Account && step != Account {
		failed := c.core.Failed()
		failed.Account()
		c.step = c.core.Accounted(c.now)
	}
	if c.step != step {
		c.t.Fatalf("%s: step %d (rejection %v); want %d", what, c.step, c.core.Rejection, step)
	}
}

// wantRefused checks that the client gets this refusal, and that the handshake holds nothing any more.
func (c *script) wantRefused(want *upgrade.Rejection) {
	c.t.Helper()
	c.want("it is refused", Refuse)
	if !errors.Is(c.core.Rejection, want) || c.core.Status != want.Status || c.core.Outcome != Refused {
		c.t.Fatalf("refused with %v, status %d, outcome %d; want %v", c.core.Rejection, c.core.Status, c.core.Outcome, want)
	}
	c.wantOver(want.Reason)
}

// wantOver checks that the end is accounted for once, with that reason, and that all places are released.
func (c *script) wantOver(reason string) {
	c.t.Helper()
	c.core.End(c.now)
	c.core.End(c.now)
	if got := strings.Join(c.gate.ended, " "); got != reason {
		c.t.Errorf("it ended with %q; want %q", got, reason)
	}
	c.wantNothingHeld()
}

func (c *script) wantNothingHeld() {
	c.t.Helper()
	if c.gate.places != 0 {
		c.t.Errorf("%d places are acquired; want 0", c.gate.places)
	}
	for _, b := range c.gate.pool.Status() {
		if b.Sessions != 0 {
			c.t.Errorf("backend %s has %d picks; want 0", b.Name, b.Sessions)
		}
	}
}

// splits are the ways in which bytes may arrive.
var splits = map[string]func() func(int) int{
	"whole":        func() func(int) int { return func(n int) int { return n } },
	"byte by byte": func() func(int) int { return func(int) int { return 1 } },
	"random 1":     func() func(int) int { return randomSplit(1) },
	"random 2":     func() func(int) int { return randomSplit(2) },
}

func randomSplit(seed uint64) func(int) int {
	r := rand.New(rand.NewPCG(seed, 0))
	return func(n int) int { return 1 + r.IntN(n) }
}

// each runs a script for every way in which bytes arrive.
func each(t *testing.T, s setting, run func(c *script)) {
	t.Helper()
	for name, split := range splits {
		t.Run(name, func(t *testing.T) {
			c := newScript(t, s)
			c.split = split()
			run(c)
		})
	}
}

const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ==" // of RFC 6455 section 1.3
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

func asking(path string, more ...string) string {
	return head(append([]string{"GET " + path + " HTTP/1.1", "Host: gateway.test", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Key: " + sampleKey, "Sec-WebSocket-Version: 13"}, more...)...)
}

func switching(more ...string) string {
	return head(append([]string{"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: " + sampleAccept}, more...)...)
}

var errRefused = fmt.Errorf("connect: %w", syscall.ECONNREFUSED)
