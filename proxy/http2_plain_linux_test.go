package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/h2test"
	"sluice/proxy/limits"
)

// A plainPair is a gateway whose listener speaks HTTP/2, before a backend of net/http, and a client of net/http that speaks HTTP/2 alone.
type plainPair struct {
	*gateway
	client *http.Client
	used   sync.Map // the client's connections that had requests; it may open others, which have none
	scheme string
}

// withHTTP2 runs a test of plain requests over HTTP/2, without TLS and with it.
func withHTTP2(t *testing.T, handle http.HandlerFunc, change func(*setup), test func(t *testing.T, p *plainPair)) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			backend := httptest.NewServer(handle)
			t.Cleanup(backend.Close)
			s := newSetup("loop", backend.Listener.Addr().String())
			s.Listeners[0].HTTP2 = HTTP2Requests
			if change != nil {
				change(s)
			}
			p := &plainPair{scheme: scheme}
			if scheme == "https" {
				secure := newTLSServer().config.Clone()
				secure.NextProtos = []string{"h2", "http/1.1"}
				s.Listeners[0].TLS = tlsServer{secure}
			}
			p.gateway = s.run(t)
			var protocols http.Protocols
			protocols.SetHTTP2(true)
			protocols.SetUnencryptedHTTP2(true)
			transport := &http.Transport{
				Protocols:       &protocols,
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
				DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, network, p.address())
				},
				ExpectContinueTimeout: patience,
			}
			p.client = &http.Client{Transport: transport}
			t.Cleanup(transport.CloseIdleConnections)
			test(t, p)
			p.wantIdle(t)
			eventually(t, "places of requests are released", func() bool { return p.placesHeld(limits.Requests) == 0 && p.placesHeld(limits.Handshakes) == 0 })
		})
	}
}

// request returns a request to the gateway, which ends after patience.
func (p *plainPair) request(t *testing.T, method, path string, body io.Reader) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { p.used.Store(info.Conn, true) }})
	r, err := http.NewRequestWithContext(ctx, method, p.scheme+"://gateway.test"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantOneConnection checks that all requests came on one connection.
func (p *plainPair) wantOneConnection(t *testing.T) {
	t.Helper()
	count := 0
	p.used.Range(func(any, any) bool {
		count++
		return true
	})
	if count != 1 {
		t.Errorf("%d connections of the client, want 1", count)
	}
}

// do sends a request, whose answer has to have that status.
func (p *plainPair) do(t *testing.T, r *http.Request, status int) *http.Response {
	t.Helper()
	resp, err := p.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != status || resp.ProtoMajor != 2 {
		t.Fatalf("%s %s: status %d, %s; want %d, HTTP/2.0", r.Method, r.URL.Path, resp.StatusCode, resp.Proto, status)
	}
	return resp
}

// wantText reads the whole body of an answer.
func wantText(t *testing.T, resp *http.Response, want string) {
	t.Helper()
	if got, err := io.ReadAll(resp.Body); string(got) != want || err != nil {
		t.Errorf("body %q, %v; want %q", got, err, want)
	}
}

func TestPlainRequestsOverHTTP2ReachTheBackend(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header().Set("Keep-Alive", "5")
		_, _ = fmt.Fprintf(w, "%s %s %s %s %s %d %s", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Cookie"), r.ContentLength, body)
	}, nil, func(t *testing.T, p *plainPair) {
		r := p.request(t, "GET", "/one?x=%20&y", nil)
		r.Header["Cookie"] = []string{"c=1", "d=2"}
		resp := p.do(t, r, 200)
		wantText(t, resp, "GET /one?x=%20&y gateway.test "+p.scheme+" c=1; d=2 0 ")
		if h := resp.Header; len(h["Set-Cookie"]) != 2 || h.Get("Keep-Alive") != "" || h.Get("Connection") != "" {
			t.Errorf("header %v", h)
		}
		wantText(t, p.do(t, p.request(t, "POST", "/", strings.NewReader("hello")), 200), "POST / gateway.test "+p.scheme+"  5 hello")
		wantText(t, p.do(t, p.request(t, "PUT", "/", io.MultiReader(strings.NewReader("hello"))), 200), "PUT / gateway.test "+p.scheme+"  -1 hello")
		p.wantOneConnection(t)
		for _, line := range p.lines(t, 3) {
			if m := line.ContextMap(); m["status"] != int64(200) || m["http"] != "2" {
				t.Errorf("the access log says %v", m)
			}
		}
	})
}

func TestHeadsOfAnswersOverHTTP2(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/known":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		case "/hints":
			w.Header().Set("Link", "</style.css>")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "hinted")
		default:
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, "hello")
		}
	}, func(s *setup) { s.Routes[0].Path = "/"; s.Routes[0].Host = "gateway.test" }, func(t *testing.T, p *plainPair) {
		if resp := p.do(t, p.request(t, "HEAD", "/", nil), 200); resp.ContentLength != 5 {
			t.Errorf("HEAD tells a length of %d, want 5", resp.ContentLength)
		}
		wantText(t, p.do(t, p.request(t, "GET", "/none", nil), 204), "")
		wantText(t, p.do(t, p.request(t, "GET", "/known", nil), 304), "")
		var hints []string
		r := p.request(t, "GET", "/hints", nil)
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, header.Get("Link")))
				return nil
			},
		}))
		wantText(t, p.do(t, r, 200), "hinted")
		if len(hints) != 1 || hints[0] != "103</style.css>" {
			t.Errorf("hints %v", hints)
		}
		for _, method := range []string{"GET", "HEAD"} {
			r = p.request(t, method, "/", nil)
			r.Host = "other.test"
			resp := p.do(t, r, 404)
			if body, err := io.ReadAll(resp.Body); err != nil || (len(body) > 0) != (method == "GET") {
				t.Errorf("%s of what isn't there: body %q, %v", method, body, err)
			}
		}
	})
}

func TestBothDirectionsOfAStreamPassAtOnce(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		_ = control.Flush()
		p, sum := make([]byte, 100), 0
		for {
			n, err := r.Body.Read(p)
			sum += n
			_, _ = w.Write(bytes.ToUpper(p[:n]))
			_ = control.Flush()
			if err != nil {
				break
			}
		}
		w.Header().Set("X-Sum", fmt.Sprint(sum))
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	}, nil, func(t *testing.T, p *plainPair) {
		out, in := io.Pipe()
		resp := p.do(t, p.request(t, "POST", "/", out), 200)
		buf := make([]byte, 100)
		for _, word := range []string{"hello", "world"} {
			if _, err := io.WriteString(in, word); err != nil {
				t.Fatal(err)
			}
			if n, err := io.ReadFull(resp.Body, buf[:5]); string(buf[:n]) != strings.ToUpper(word) || err != nil {
				t.Fatalf("echo %q, %v; want %q", buf[:n], err, strings.ToUpper(word))
			}
		}
		_ = in.Close()
		wantText(t, resp, "")
		if resp.Trailer.Get("X-Sum") != "10" || resp.Trailer.Get("X-Late") != "yes" {
			t.Errorf("trailers %v", resp.Trailer)
		}
	})
}

func TestEventsPassAsTheyCome(t *testing.T) {
	next := make(chan string)
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		for i := range 3 {
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
		}
	}, nil, func(t *testing.T, p *plainPair) {
		resp := p.do(t, p.request(t, "GET", "/", nil), 200)
		buf := make([]byte, 9)
		for i := range 3 {
			next <- ""
			if _, err := io.ReadFull(resp.Body, buf); string(buf) != fmt.Sprintf("data: %d\n\n", i) || err != nil {
				t.Fatalf("event %q, %v", buf, err)
			}
		}
		wantText(t, resp, "")
	})
}

func TestLargeBodiesPassBothWaysOverHTTP2(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(body, large) {
			http.Error(w, fmt.Sprint(len(body), err), 400)
			return
		}
		_, _ = w.Write(body)
	}, nil, func(t *testing.T, p *plainPair) {
		for _, body := range []io.Reader{bytes.NewReader(large), io.MultiReader(bytes.NewReader(large))} {
			resp := p.do(t, p.request(t, "POST", "/", body), 200)
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, large) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
		}
	})
}

// An endless reader gives bytes until it is closed.
type endless struct {
	once sync.Once
	done chan struct{}
}

func (e *endless) Read(p []byte) (int, error) {
	select {
	case <-e.done:
		return 0, io.ErrClosedPipe
	default:
		return len(p), nil
	}
}

func (e *endless) Close() error {
	e.once.Do(func() { close(e.done) })
	return nil
}

func TestABodyThatIsTooLargeIsRefusedWhileItComes(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}, func(s *setup) { s.Routes[0].RequestBody = 100 << 10 }, func(t *testing.T, p *plainPair) {
		body := &endless{done: make(chan struct{})}
		resp := p.do(t, p.request(t, "POST", "/", body), 413)
		if text, err := io.ReadAll(resp.Body); !strings.Contains(string(text), "larger") || err != nil {
			t.Errorf("body %q, %v", text, err)
		}
		select {
		case <-body.done: // the client is told to send no more
		case <-time.After(patience):
			t.Error("the client goes on sending")
		}
		r := p.request(t, "POST", "/", bytes.NewReader(make([]byte, 200<<10)))
		if _, err := io.ReadAll(p.do(t, r, 413).Body); err != nil {
			t.Error(err)
		}
		wantText(t, p.do(t, p.request(t, "POST", "/", strings.NewReader("x")), 200), "")
	})
}

// A backend may answer before it has read all of the request.
func TestAnEarlyAnswerOverHTTP2EndsTheRequest(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no")
	}, nil, func(t *testing.T, p *plainPair) {
		body := &endless{done: make(chan struct{})}
		wantText(t, p.do(t, p.request(t, "POST", "/", body), 403), "no")
		select {
		case <-body.done:
		case <-time.After(patience):
			t.Error("the client goes on sending")
		}
	})
}

func TestABackendAsksForABodyOverHTTP2(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "no", http.StatusExpectationFailed)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}, nil, func(t *testing.T, p *plainPair) {
		r := p.request(t, "POST", "/", strings.NewReader("hello"))
		r.Header.Set("Expect", "100-continue")
		isAsked := false
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got100Continue: func() { isAsked = true }}))
		if wantText(t, p.do(t, r, 200), "hello"); !isAsked {
			t.Error("the client wasn't asked for the body")
		}
		r = p.request(t, "POST", "/no", strings.NewReader("hello"))
		r.Header.Set("Expect", "100-continue")
		wantText(t, p.do(t, r, 417), "no\n")
	})
}

func TestABackendSeesThatAClientHasResetItsStream(t *testing.T) {
	began, ended := make(chan string), make(chan error)
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/whole" {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		began <- r.URL.Path
		if r.URL.Path == "/answered" {
			_ = http.NewResponseController(w).Flush()
		}
		if r.URL.Path == "/partly" {
			_, err := io.Copy(io.Discard, r.Body)
			ended <- err
			return
		}
		<-r.Context().Done()
		ended <- r.Context().Err()
	}, nil, func(t *testing.T, p *plainPair) {
		for path, body := range map[string]io.Reader{"/": nil, "/answered": nil, "/whole": strings.NewReader("hello"), "/partly": &endless{done: make(chan struct{})}} {
			method := "GET"
			if body != nil {
				method = "POST"
			}
			r := p.request(t, method, path, body)
			ctx, cancel := context.WithCancel(r.Context())
			done := make(chan error, 1)
			go func() {
				resp, err := p.client.Do(r.WithContext(ctx))
				if err == nil {
					_, err = io.ReadAll(resp.Body)
				}
				done <- err
			}()
			if got := <-began; got != path {
				t.Fatalf("%s began, want %s", got, path)
			}
			cancel()
			if err := <-ended; err == nil {
				t.Errorf("%s: no error at the backend", path)
			}
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: the client's error is %v", path, err)
			}
		}
		p.wantOneConnection(t)
	})
}

func TestAnAnswerThatBreaksOffResetsItsStream(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "100")
		}
		_, _ = io.WriteString(w, "hello")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, nil, func(t *testing.T, p *plainPair) {
		for _, path := range []string{"/length", "/chunks"} {
			resp := p.do(t, p.request(t, "GET", path, nil), 200)
			if got, err := io.ReadAll(resp.Body); string(got) != "hello" || err == nil {
				t.Errorf("%s: %q, %v; want what came, and an error", path, got, err)
			}
		}
		p.wantOneConnection(t)
	})
}

func TestManyRequestsShareOneConnectionOfHTTP2(t *testing.T) {
	const count = 100
	arrived, release := make(chan struct{}), make(chan struct{})
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/first" {
			arrived <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, r.URL.Path)
	}, nil, func(t *testing.T, p *plainPair) {
		wantText(t, p.do(t, p.request(t, "GET", "/first", nil), 200), "/first") // or each request would begin a connection
		var running sync.WaitGroup
		for i := range count {
			running.Go(func() {
				path := fmt.Sprintf("/%d", i)
				resp, err := p.client.Do(p.request(t, "GET", path, nil))
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = resp.Body.Close() }()
				wantText(t, resp, path)
			})
		}
		for range count {
			<-arrived
		}
		for range count {
			release <- struct{}{}
		}
		running.Wait()
		p.wantOneConnection(t)
	})
}

// What a client sends too slowly is refused, as over HTTP/1.1.
func TestASlowBodyOverHTTP2IsRefused(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}, func(s *setup) { s.Routes[0].WriteTimeout = milliseconds(200) }, func(t *testing.T, p *plainPair) {
		out, in := io.Pipe()
		defer func() { _ = in.Close() }()
		resp := p.do(t, p.request(t, "POST", "/", out), 408)
		if text, err := io.ReadAll(resp.Body); !strings.Contains(string(text), "in time") || err != nil {
			t.Errorf("body %q, %v", text, err)
		}
	})
}

// A client that takes nothing loses its stream, and holds no place for longer.
func TestAClientThatTakesNothingLosesItsStream(t *testing.T) {
	large := make([]byte, 8<<20)
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(large)
	}, func(s *setup) { s.Routes[0].WriteTimeout = milliseconds(200) }, func(t *testing.T, p *plainPair) {
		resp := p.do(t, p.request(t, "GET", "/", nil), 200)
		eventually(t, "the place of the request is released", func() bool { return p.placesHeld(limits.Requests) == 0 })
		if n, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Errorf("%d bytes, and no error", n)
		}
	})
}

// dialHTTP2 returns a client of HTTP/2 that sends what net/http's would not.
func (p *plainPair) dialHTTP2(t *testing.T) *h2test.Conn {
	t.Helper()
	var secure *tls.Config
	if p.scheme == "https" {
		secure = &tls.Config{InsecureSkipVerify: true}
	}
	c, err := h2test.DialClient(p.address(), secure, h2test.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestWhatHTTP11RefusesIsRefusedOverHTTP2(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s|%s|%s|%s", r.Header["X-Forwarded-For"], r.Header["Te"], r.Header["Upgrade"], r.Header["X_real_ip"])
	}, nil, func(t *testing.T, p *plainPair) {
		c := p.dialHTTP2(t)
		pseudo := func(method, path string, more ...string) []h2test.Field {
			return h2test.Request(method, "gateway.test", path, h2test.Fields(more...)...)
		}
		for _, test := range []struct {
			name   string
			fields []h2test.Field
			status int // 0: the stream is reset
		}{
			{"spoofed", pseudo("GET", "/", "x-forwarded-for", "1.2.3.4", "te", "trailers", "x_real_ip", "1.2.3.4"), 200},
			{"dots", pseudo("GET", "/../x"), 400},
			{"asterisk", pseudo("OPTIONS", "*"), 400},
			{"a bad host", h2test.Request("GET", "gateway..test", "/"), 400},
			{"user information", h2test.Request("GET", "user@gateway.test", "/"), 0},
			{"no proxy", h2test.Fields(":method", "CONNECT", ":authority", "other.test:443"), 400},
			{"no path", h2test.Fields(":method", "GET", ":scheme", "http", ":authority", "gateway.test", ":path", ""), 0},
			{"absolute form", pseudo("GET", "http://gateway.test/"), 0},
			{"connection", pseudo("GET", "/", "connection", "x-hop"), 0},
			{"upgrade", pseudo("GET", "/", "upgrade", "websocket"), 0},
			{"transfer-encoding", pseudo("GET", "/", "transfer-encoding", "chunked"), 0},
			{"another host", pseudo("GET", "/", "host", "other.test"), 0},
			{"a control byte", pseudo("GET", "/", "x", "a\x01b"), 0},
			{"a second line", pseudo("GET", "/", "x", "a\r\nb: c"), 0},
			{"a length without a body", pseudo("POST", "/", "content-length", "5"), 0},
		} {
			s, err := c.Open(test.fields, true)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.Response()
			var reset *h2test.ResetError
			switch {
			case test.status == 0 && errors.As(err, &reset) && reset.Code == http2.ErrCodeProtocol:
			case err != nil || resp.Status != test.status:
				t.Errorf("%s: %+v, %v; want status %d, or a reset if it is 0", test.name, resp, err, test.status)
			case test.status == 200:
				const want = "[127.0.0.1]|[]|[]|[]"
				if got, err := io.ReadAll(s); string(got) != want || err != nil {
					t.Errorf("%s: the backend gets %s, %v; want %s", test.name, got, err, want)
				}
			}
		}
	})
}

func TestABodyUnlikeItsLengthIsTheClientsFault(t *testing.T) {
	began, ended := make(chan string), make(chan error)
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		began <- ""
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}, nil, func(t *testing.T, p *plainPair) {
		c := p.dialHTTP2(t)
		for _, body := range []string{"hell", "hello!"} {
			s, err := c.Open(h2test.Request("POST", "gateway.test", "/", h2test.Fields("content-length", "5")...), false)
			if err != nil {
				t.Fatal(err)
			}
			<-began
			_, _ = io.WriteString(s, body)
			_ = s.CloseWrite()
			var reset *h2test.ResetError
			if resp, err := s.Response(); !errors.As(err, &reset) || reset.Code != http2.ErrCodeProtocol {
				t.Errorf("%q: %+v, %v; want PROTOCOL_ERROR", body, resp, err)
			}
			if err := <-ended; err == nil {
				t.Errorf("%q: the backend gets a whole body", body)
			}
		}
		p.wantIdle(t)
		if n := p.metric(t, "sluice_backend_failures_total"); n != 0 {
			t.Errorf("%v failures of a backend that did nothing wrong", n)
		}
	})
}

// RFC 9110 section 6.5.1 lets a gateway drop trailers, and a backend may take them for fields that we judge.
func TestTrailersOfRequestsAreDropped(t *testing.T) {
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprint(w, string(body), err, len(r.Trailer))
	}, nil, func(t *testing.T, p *plainPair) {
		r := p.request(t, "POST", "/", io.MultiReader(strings.NewReader("hello")))
		r.Trailer = http.Header{"X-Forwarded-For": {"1.2.3.4"}}
		wantText(t, p.do(t, r, 200), "hello<nil> 0")
	})
}

func TestADrainWaitsForRequestsOverHTTP2(t *testing.T) {
	began, release := make(chan string), make(chan string)
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		began <- ""
		<-release
		_, _ = io.WriteString(w, "whole")
	}, nil, func(t *testing.T, p *plainPair) {
		c := p.dialHTTP2(t)
		s, err := c.Open(h2test.Request("GET", "gateway.test", "/"), true)
		if err != nil {
			t.Fatal(err)
		}
		<-began
		done := make(chan string)
		go func() {
			defer close(done)
			p.Shutdown(context.Background(), 0, patience)
		}()
		if code, err := c.AwaitGoAway(); code != http2.ErrCodeNo || err != nil {
			t.Errorf("GOAWAY with %v, %v", code, err)
		}
		release <- ""
		if body, err := io.ReadAll(s); string(body) != "whole" || err != nil {
			t.Errorf("body %q, %v", body, err)
		}
		<-c.Done()
		<-done
	})
}

func TestAStopCutsRequestsOverHTTP2(t *testing.T) {
	began, ended := make(chan string), make(chan error)
	withHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
		began <- ""
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			<-r.Context().Done()
			err = r.Context().Err()
		}
		ended <- err
	}, nil, func(t *testing.T, p *plainPair) {
		c := p.dialHTTP2(t)
		for _, isEnd := range []bool{true, false} {
			if _, err := c.Open(h2test.Request("POST", "gateway.test", "/"), isEnd); err != nil {
				t.Fatal(err)
			}
			<-began
		}
		p.Close()
		<-c.Done()
		for range 2 {
			if <-ended == nil {
				t.Error("the backend sees no end")
			}
		}
	})
}
