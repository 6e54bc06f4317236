package handshake

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/balancer"
	"sluice/internal/units"
	"sluice/proxy/reach"
	"sluice/proxy/route"
	"sluice/upgrade"
)

func TestAHandshakeBecomesASession(t *testing.T) {
	each(t, setting{}, func(c *script) {
		c.client(asking("/chat") + "early frames")
		c.asked()
		c.backend(switching() + "frames of the backend")
		c.want("the answer is valid", WriteClient)
		if out := join(c.core.Out()); !strings.HasPrefix(out, "HTTP/1.1 101 ") || !strings.Contains(out, sampleAccept) {
			t.Errorf("the client gets %q", out)
		}
		c.step = c.core.Accepted(nil)
		c.want("the client has the answer", Relay)
		if string(c.core.EarlyFrames()) != "early frames" || string(c.core.AfterAnswer()) != "frames of the backend" {
			t.Errorf("after the heads come %q and %q", c.core.EarlyFrames(), c.core.AfterAnswer())
		}
		b := c.core.Backend()
		c.core.Establish()
		if c.core.Outcome != Established || c.gate.places != 1 {
			t.Errorf("outcome %d with %d places; want a session with one", c.core.Outcome, c.gate.places)
		}
		c.core.End(c.now)
		if len(c.gate.ended) != 0 {
			t.Errorf("a session is accounted for as %q", c.gate.ended)
		}
		b.Release(balancer.Ended)
		c.gate.places--
		c.wantNothingHeld()
	})
}

func TestTheHeadForTheBackend(t *testing.T) {
	c := newScript(t, setting{})
	c.client(asking("/chat", "X-Own: stays"))
	c.step = c.core.Dialing()
	out := join(c.core.Out())
	for _, line := range []string{"GET /chat HTTP/1.1\r\n", "\r\nX-Own: stays\r\n", "\r\nX-Forwarded-For: 192.0.2.1\r\n", "\r\nX-Request-Id: " + reach.FormatID(c.core.ID) + "\r\n"} {
		if !strings.Contains(out, line) {
			t.Errorf("the backend gets %q; want %q in it", out, line)
		}
	}
}

func TestARefusedRequestPicksNoBackend(t *testing.T) {
	for name, test := range map[string]struct {
		head string
		gate func(*gate)
		want *upgrade.Rejection
	}{
		"a bare LF, at once":            {head: "GET /chat HTTP/1.1\n", want: upgrade.ErrBareLF},
		"TLS":                           {head: "\x16\x03\x01\x00\xee", want: upgrade.ErrTLS},
		"another method":                {head: strings.Replace(asking("/chat"), "GET", "PUT", 1), want: upgrade.ErrBadMethod},
		"no route":                      {head: asking("/chatter"), want: upgrade.ErrNoRoute},
		"an encoded slash":              {head: asking("/chat/%2f"), want: upgrade.ErrEncodedSlash},
		"an Origin that is not allowed": {head: asking("/chat", "Origin: https://bad.example"), want: upgrade.ErrOrigin},
		"not WebSocket":                 {head: head("GET /chat HTTP/1.1", "Host: gateway.test"), want: upgrade.ErrNotWebSocket},
		"the gateway stops":             {head: asking("/chat"), gate: func(g *gate) { g.refuses = true }, want: upgrade.ErrDraining},
		"no place":                      {head: asking("/chat"), gate: func(g *gate) { g.refusal = upgrade.ErrSessions }, want: upgrade.ErrSessions},
		"too many requests":             {head: asking("/nowhere"), gate: func(g *gate) { g.over = upgrade.ErrRate }, want: upgrade.ErrRate},
		"too many malformed requests":   {head: "GET /chat HTTP/1.1\n", gate: func(g *gate) { g.over = upgrade.ErrRate }, want: upgrade.ErrRate},
		"too many of its address":       {head: asking("/chat"), gate: func(g *gate) { g.refusal = upgrade.ErrRate }, want: upgrade.ErrRate},
		"everything is redirected":      {head: asking("/chat"), gate: func(g *gate) { g.redirect = upgrade.ErrRedirect }, want: upgrade.ErrRedirect},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, setting{route: func(c *route.Config) { c.Origins = []string{"https://good.example"} }}, func(c *script) {
				if test.gate != nil {
					test.gate(c.gate)
				}
				c.client(test.head)
				c.wantRefused(test.want)
				if c.gate.counted != 1 { // Faults B1.
					t.Errorf("%d requests are counted, want 1", c.gate.counted)
				}
				if c.core.Asked != nil {
					t.Error("a backend was picked")
				}
			})
		})
	}
}

func TestAnIncompleteHeadEndsTheHandshake(t *testing.T) {
	each(t, setting{}, func(c *script) {
		c.client("GET /chat HT")
		c.step = c.core.Due(c.now)
		c.wantRefused(upgrade.ErrHeadTimeout)
	})
	for name, end := range map[string]func(*script) Step{
		"no byte in time":   func(c *script) Step { return c.core.Due(c.now) },
		"a read times out":  func(c *script) Step { return c.core.ClientRead(0, os.ErrDeadlineExceeded, c.now) },
		"the end of stream": func(c *script) Step { return c.core.ClientRead(0, io.EOF, c.now) },
	} {
		c := newScript(t, setting{})
		c.step = end(c)
		c.want(name, Drop)
		c.wantOver("") // there was no request
	}
	c := newScript(t, setting{})
	c.client("GET")
	c.step = c.core.ClientRead(0, io.EOF, c.now)
	c.want("the end of the stream inside a head", Drop)
	c.wantOver("client_lost")
}

func TestChallengesAndPlainRequestsLeaveTheCore(t *testing.T) {
	each(t, setting{}, func(c *script) {
		c.gate.isPlain = true
		c.client(head("GET /challenge HTTP/1.1", "Host: gateway.test"))
		c.want("it may be from an ACME authority", Challenge)
		c.step = c.core.NoChallenge(c.now)
		c.want("it is not from an authority", Plain)
		start := c.now.Add(time.Minute)
		next := new(upgrade.Handshake)
		next.FromClient.Grow(copy(next.FromClient.Free(), asking("/chat")[:20]))
		id := c.core.ID
		c.step = c.core.Next(next, start, start.Add(time.Second), start)
		c.want("a part of another head", ReadClient)
		if c.core.ID == id || !c.core.Start.Equal(start) {
			t.Error("the next request has the id or the start of the one before")
		}
		c.client(asking("/chat")[20:])
		c.asked()
	})
	c := newScript(t, setting{})
	c.client(head("GET /challenge HTTP/1.1", "Host: gateway.test"))
	c.step = c.core.Served(false)
	c.want("it was answered", Drop)
	c.wantOver("") // accounted for elsewhere
}

// An end at any step releases all that the handshake holds, once.
func TestAnEndAtEachStepReleasesAllThatItHolds(t *testing.T) {
	steps := []struct {
		name string
		to   func(*script)
	}{
		{"ReadClient", func(c *script) { c.client(asking("/chat")[:30]) }},
		{"Dial", func(c *script) { c.client(asking("/chat")) }},
		{"WriteBackend", func(c *script) { c.client(asking("/chat")); c.step = c.core.Dialing() }},
		{"ReadBackend", func(c *script) { c.client(asking("/chat")); c.asked() }},
		{"WriteClient", func(c *script) { c.client(asking("/chat")); c.asked(); c.backend(switching()) }},
		{"Pass", func(c *script) {
			c.client(asking("/chat"))
			c.asked()
			c.backend(head("HTTP/1.1 403 No", "Content-Length: 0"))
		}},
	}
	for _, s := range steps {
		for name, end := range map[string]func(c *script) Step{
			"the client is lost": func(c *script) Step { return c.core.ClientLost() },
			"a panic":            func(c *script) Step { return c.core.Abort() },
			"no descriptor":      func(c *script) Step { return c.core.Refuse(upgrade.ErrSessions) },
		} {
			t.Run(s.name+", "+name, func(t *testing.T) {
				c := newScript(t, setting{})
				s.to(c)
				isTorn := (s.name == "WriteClient" || s.name == "Pass") && name != "the client is lost"
				if c.step = end(c); c.step != Refuse && c.step != Drop || c.core.IsTorn != isTorn {
					t.Errorf("step %d, torn %t; want an end, torn %t", c.step, c.core.IsTorn, isTorn)
				}
				c.core.End(c.now)
				if len(c.gate.ended) != 1 {
					t.Errorf("accounted for as %q; want once", c.gate.ended)
				}
				c.wantNothingHeld()
			})
		}
	}
}

func TestTheDeadlinesOfAnAttempt(t *testing.T) {
	c := newScript(t, setting{pool: func(pc *balancer.Config) { pc.RetryOn = []string{"timeout"} }})
	c.client(asking("/chat"))
	begin := c.now
	wantDeadline := func(what string, d time.Duration) {
		t.Helper()
		if got := c.core.Deadline.Sub(begin); got != d {
			t.Errorf("%s within %v; want %v", what, got, d)
		}
	}
	wantDeadline("the first backend has to be connected", 3*time.Second)
	c.step = c.core.Dialing()
	wantDeadline("connecting goes on", 3*time.Second)
	c.core.Wrote(c.now)
	wantDeadline("it has to answer, so that another one has its turn", 5*time.Second)
	c.now = c.now.Add(5 * time.Second)
	c.step = c.core.Due(c.now)
	c.want("another backend is tried", Dial)
	wantDeadline("the last one has to be connected", 8*time.Second)
	c.step = c.core.Dialing()
	c.core.Wrote(c.now)
	wantDeadline("the last one may use what is left", 10*time.Second)
	c.now = c.now.Add(5 * time.Second)
	c.step = c.core.Due(c.now)
	c.wantRefused(upgrade.ErrBackendTimeout)
}

func TestWaitingForABackendHasNoDeadline(t *testing.T) {
	c := newScript(t, setting{pool: func(pc *balancer.Config) {
		pc.QueueTimeout, pc.Queue = units.Duration(time.Second), 10
		for i := range pc.Backend {
			pc.Backend[i].MaxSessions = 1
		}
	}})
	want := balancer.Request{}
	first, _ := c.gate.pool.TryPick(&want)
	second, _ := c.gate.pool.TryPick(&want)
	c.client(asking("/chat"))
	c.want("both backends are full", Pick)
	if !c.core.Deadline.IsZero() {
		t.Errorf("the deadline is %v; want none, since the pool bounds the wait", c.core.Deadline)
	}
	c.now = c.now.Add(time.Minute)
	c.step = c.core.Picked(first, nil, c.now)
	c.want("a backend is free", Dial)
	if d := c.core.Deadline.Sub(c.now); d != 3*time.Second {
		t.Errorf("the backend has to be connected within %v; want connect_timeout", d)
	}
	c.step = c.core.ClientLost()
	second.Backend.Release(balancer.Ended)
	c.wantOver("client_lost")
}

func join(slices [][]byte) string {
	var b strings.Builder
	for _, s := range slices {
		b.Write(s)
	}
	return b.String()
}
