package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"

	"sluice/proxy/plain"
	"sluice/proxy/route"
)

// recovered counts the calls of Config.Panics.
type recovered struct {
	mu sync.Mutex

	count int // guarded by mu
}

func (r *recovered) handle(name string, cause any, stack []byte) {
	if name != room || !bytes.Contains(stack, []byte("sluice/proxy")) {
		panic("told of the room " + name + " with the stack\n" + string(stack))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
}

func (r *recovered) want(t *testing.T, count int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count != count {
		t.Errorf("%d panics were reported, want %d", r.count, count)
	}
}

// A trappedListener accepts connections that panic when "boom" passes.
type trappedListener struct{ net.Listener }

func (l trappedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return trapped{conn, "boom"}, nil
}

// A trapped connection panics when its word passes.
type trapped struct {
	net.Conn
	word string
}

func (c trapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	spring(p[:n], c.word)
	return n, err
}

func (c trapped) Write(p []byte) (int, error) {
	spring(p, c.word)
	return c.Conn.Write(p)
}

func (c trapped) NetConn() net.Conn { return c.Conn }

func spring(p []byte, word string) {
	if bytes.Contains(p, []byte(word)) {
		panic(word)
	}
}

// A trappedBody panics when "crash" passes.
type trappedBody struct{ io.ReadCloser }

func (b trappedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	spring(p[:n], "crash")
	return n, err
}

// Some of these panics happen on goroutines of net/http that recover no panic.
func TestAPanicEndsThePlainRequestInWhichItComes(t *testing.T) {
	for name, test := range map[string]struct {
		breaks  func(r *route.Route)
		request string
		then    string // that the client sends after the backend has the request, or ""
		answer  string // of the backend, or ""
		status  int    // that the client gets; 0 if its connection is reset
	}{
		"before a backend is picked": {
			breaks:  func(r *route.Route) { plainOf(r).Rewrite = func(*httputil.ProxyRequest) { panic("boom") } },
			request: getting("/broken"), status: 502,
		},
		"once a backend is picked": {
			breaks: func(r *route.Route) {
				transportOf(r).Proxy = func(*http.Request) (*url.URL, error) { panic("boom") }
			},
			request: getting("/broken"), status: 502,
		},
		"as the request is sent": {
			breaks: func(r *route.Route) {
				dial := transportOf(r).DialContext
				transportOf(r).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					if err == nil {
						lower := reflect.ValueOf(conn).Elem().FieldByName("Conn")
						lower.Set(reflect.ValueOf(trapped{lower.Interface().(net.Conn), "/broken"}))
					}
					return conn, err
				}
			},
			request: getting("/broken"), status: 502,
		},
		"as the request's body is read by the transport": {
			breaks: func(r *route.Route) {
				rewrite := plainOf(r).Rewrite
				plainOf(r).Rewrite = func(pr *httputil.ProxyRequest) {
					rewrite(pr)
					pr.Out.Body = trappedBody{pr.Out.Body}
				}
			},
			request: head("POST /broken HTTP/1.1", "Host: gateway.test", "Content-Length: 5") + "crash", status: 502,
		},
		"as the request's body comes": {
			request: head("POST /broken HTTP/1.1", "Host: gateway.test", "Content-Length: 4"), then: "boom", status: 502,
		},
		"as something comes after the request": {request: getting("/broken"), then: "boom", status: 502},
		"as an interim answer passes": {
			request: getting("/broken"), answer: head("HTTP/1.1 103 Early Hints", "Link: boom") + answering("end"), status: 0,
		},
		"once the answer has come": {
			breaks:  func(r *route.Route) { plainOf(r).ModifyResponse = func(*http.Response) error { panic("boom") } },
			request: getting("/broken"), answer: answering("end", "X-Own: y"), status: 502,
		},
		"as the answer is sent": {request: getting("/broken"), answer: answering("boom"), status: 0},
		"once a part of the answer is sent": {
			breaks: func(r *route.Route) {
				modify := plainOf(r).ModifyResponse
				plainOf(r).ModifyResponse = func(resp *http.Response) error {
					resp.Body = trappedBody{resp.Body}
					return modify(resp)
				}
			},
			request: getting("/broken"), answer: answering(strings.Repeat("x", 100_000) + "crash"), status: 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := listenRaw(t)
			g, told := runTrapped(t, backend.Addr().String(), test.breaks)
			c := g.dial(t)
			c.send(t, getting("/"))
			b := backend.accept(t)
			b.send(t, answering("first", "Connection: close"))
			c.wantBody(t, 200, "first")
			c.send(t, test.request)
			if test.then+test.answer != "" {
				b = backend.accept(t)
				b.send(t, test.answer)
			}
			if test.then != "" {
				c.send(t, test.then)
			}
			if test.status == 0 {
				c.wantBroken(t)
			} else if h := c.wantRefusal(t, test.status, "failed").Header; h.Get("X-Own") != "" {
				t.Errorf("the refusal has fields of the answer: %v", h)
			}
			g.wantIdle(t)
			told.want(t, 1)
			if line := g.lines(t, 2)[1].ContextMap(); test.status != 0 && line["status"] != int64(test.status) {
				t.Errorf("the access log says %v", line)
			}
			if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
				t.Errorf("%v failures of a backend that did nothing wrong", n)
			}
			g.wantPlain(t, backend)
		})
	}
}

// runTrapped runs a gateway with a trappedListener. breaks may be nil; it gets the route /broken before the gateway accepts.
func runTrapped(t *testing.T, backend string, breaks func(r *route.Route)) (*gateway, *recovered) {
	t.Helper()
	s, told := newSetup("goroutine", backend), new(recovered)
	broken := newRouteConfig("broken")
	broken.Path = "/broken"
	s.Routes = append(s.Routes, broken)
	s.Pools = append(s.Pools, newPool("broken", backend))
	s.Panics = told.handle
	s.Inherited = func(_, address string) net.Listener {
		ln, err := listen(address)
		if err != nil {
			t.Fatal(err)
		}
		return trappedListener{ln}
	}
	s.breaks = func(p *Proxy) {
		for _, r := range p.routes.Load().Routes {
			if r.Path == "/broken" && breaks != nil {
				breaks(r)
			}
		}
	}
	return s.run(t), told
}

// wantPlain checks that the gateway serves another plain request.
func (g *gateway) wantPlain(t *testing.T, backend rawBackend) {
	t.Helper()
	c := g.dial(t)
	c.send(t, getting("/"))
	b := backend.connected(t)
	for b.mayWait(); !b.startsWith("GET / "); b.mayWait() {
		b = backend.connected(t) // the first one belongs to the request that panicked
	}
	b.readHead(t)
	b.send(t, answering("well"))
	c.wantBody(t, 200, "well")
}

func (w *wire) startsWith(text string) bool {
	start, _ := w.reader.Peek(len(text))
	return string(start) == text
}

func TestAPanicBetweenTwoPlainRequestsEndsTheConnection(t *testing.T) {
	backend := listenRaw(t)
	g, told := runTrapped(t, backend.Addr().String(), nil)
	c := g.dial(t)
	c.send(t, getting("/"))
	backend.accept(t).send(t, answering("first"))
	c.wantBody(t, 200, "first")
	c.send(t, "GET /boom")
	c.wantRefusal(t, 502, "failed")
	told.want(t, 1)
	if line := g.lines(t, 2)[1].ContextMap(); line["status"] != int64(502) || line["reason"] != "internal_error" {
		t.Errorf("the access log says %v", line)
	}
}

func TestAPanicInADialEndsThePlainRequest(t *testing.T) {
	backend := listenRaw(t)
	g, told := runTrapped(t, "wss://"+backend.Addr().String(), func(r *route.Route) {
		transportOf(r).Dialer.TLS = func(string) *tls.Config { panic("boom") }
	})
	c := g.dial(t)
	c.send(t, getting("/broken"))
	c.wantRefusal(t, 502, "failed")
	backend.connected(t).wantEnd(t)
	backend.wantNoConnection(t) // the dial panicked before
	g.wantIdle(t)
	told.want(t, 1)
	if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
		t.Errorf("%v failures of a backend that did nothing wrong", n)
	}
}

// The registry calls Collect on goroutines that recover no panic.
func TestAPanicInAScrapeEndsOnlyTheScrape(t *testing.T) {
	s, told := newSetup("goroutine", closedAddress(t)), new(recovered)
	s.Panics = told.handle
	g := s.run(t)
	pools := g.pools.Load()
	g.pools.Store(&map[string]*pool{"pool": nil})
	if _, err := g.registry.Gather(); err != nil {
		t.Error(err)
	}
	told.want(t, 1)
	g.pools.Store(pools)
	if n := g.metric(t, "sluice_backend_up"); n != 1 {
		t.Errorf("sluice_backend_up = %v after the panic", n)
	}
}

func TestAPanicInAReloadChangesNothing(t *testing.T) {
	backend := listenRaw(t)
	g := newSetup("goroutine", backend.Addr().String()).run(t)
	sections := Sections{
		Listeners: []Listener{newListener("public", "127.0.0.1:0"), newListener("other", "127.0.0.1:0")},
		Routes:    []route.Config{newRouteConfig("none")},
		Pools:     []Pool{newPool("pool", backend.Addr().String())}, MaxSessions: 1000,
	}
	opened := []net.Listener{}
	g.inherited = func(_, address string) net.Listener {
		ln, err := listen(address)
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, ln)
		return ln
	}
	func() {
		defer func() {
			if cause := recover(); cause == nil {
				t.Error("a route without a pool didn't panic")
			}
		}()
		_ = g.Reload(sections)
	}()
	if len(opened) != 1 {
		t.Fatalf("%d sockets opened, want 1", len(opened))
	}
	if _, err := opened[0].Accept(); err == nil {
		t.Error("the new socket accepts")
	}
	g.wantPlain(t, backend)
	sections.Routes[0].Pool = "pool"
	if err := g.Reload(sections); err != nil {
		t.Errorf("the next reload: %v", err)
	}
}

// plainOf returns the handler of a route's plain requests.
func plainOf(r *route.Route) *plain.Handler { return r.Plain.(*plain.Handler) }

// transportOf returns the transport of a route's plain requests.
func transportOf(r *route.Route) *plain.Transport { return plainOf(r).Transport.(*plain.Transport) }
