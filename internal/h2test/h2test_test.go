package h2test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"golang.org/x/net/http2"
)

// certificates returns a server's configuration and that of a client which trusts it.
func certificates() (server, client *tls.Config) {
	issued := httptest.NewUnstartedServer(nil)
	issued.StartTLS()
	defer issued.Close()
	pool := x509.NewCertPool()
	pool.AddCert(issued.Certificate())
	return &tls.Config{Certificates: issued.TLS.Certificates}, &tls.Config{RootCAs: pool, ServerName: "example.com"}
}

func echo(s *Stream) {
	if s.Answer(200) == nil {
		_, _ = io.Copy(s, s)
	}
}

func start(t *testing.T, secure *tls.Config, o Options, handle func(*Stream)) *Server {
	t.Helper()
	server, err := Listen(secure, o, handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

func TestStreamsCarryBytesWhateverTheWindows(t *testing.T) {
	server, client := certificates()
	for _, window := range []uint32{1, 10, 1 << 14, 0, 1 << 20} {
		for _, secure := range []bool{false, true} {
			for _, pad := range []uint8{0, 200} {
				if pad != 0 && window != 0 && window <= uint32(pad) {
					continue // no frame would fit
				}
				t.Run(fmt.Sprint(window, secure, pad), func(t *testing.T) {
					var ofServer, ofClient *tls.Config
					if secure {
						ofServer, ofClient = server, client
					}
					s := start(t, ofServer, Options{Window: window, Pad: pad}, echo)
					c, err := DialClient(s.Addr(), ofClient, Options{Window: window, Pad: pad})
					if err != nil {
						t.Fatal(err)
					}
					defer c.Close()
					size := 200_000
					if window < 100 && window != 0 {
						size = 2_000
					}
					var streams sync.WaitGroup
					for i := range 5 {
						streams.Go(func() {
							stream, _, err := c.OpenWebSocket("a", "/")
							if err != nil {
								t.Error(err)
								return
							}
							want := bytes.Repeat([]byte{byte(i)}, size)
							go func() {
								_, _ = stream.Write(want)
								_ = stream.CloseWrite()
							}()
							_ = stream.SetReadDeadline(time.Now().Add(patience))
							if got, err := io.ReadAll(stream); err != nil || !bytes.Equal(got, want) {
								t.Errorf("got %d bytes and %v, want %d", len(got), err, len(want))
							}
						})
					}
					streams.Wait()
					if n := c.Streams(); n != 0 {
						t.Errorf("%d streams are open after their end", n)
					}
				})
			}
		}
	}
}

func TestARefusalHasItsBody(t *testing.T) {
	s := start(t, nil, Options{}, func(s *Stream) { _ = s.Refuse(403, "no", Fields("x-why", "because")...) })
	c, err := DialClient(s.Addr(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stream, response, err := c.OpenWebSocket("a", "/")
	if err != nil || stream != nil || response.Status != 403 || string(response.Body) != "no" || response.Field("x-why") != "because" {
		t.Errorf("got %v, %+v, %v", stream, response, err)
	}
}

func TestEndsAreTold(t *testing.T) {
	s := start(t, nil, Options{}, func(s *Stream) {
		switch s.Field(":path") {
		case "/reset":
			_ = s.Answer(200)
			_ = s.Reset(http2.ErrCodeEnhanceYourCalm)
		case "/refused":
			_ = s.Reset(http2.ErrCodeRefusedStream)
		case "/goaway":
			_ = s.Conn().SendGoAway(http2.ErrCodeNo)
			echo(s)
		case "/cut":
			_ = s.Conn().Close()
		}
	})
	c, err := DialClient(s.Addr(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var reset *ResetError
	stream, _, err := c.OpenWebSocket("a", "/reset")
	if err == nil {
		_, err = stream.Read(make([]byte, 1))
	}
	if !errors.As(err, &reset) || reset.Code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("got %v, want a reset", err)
	}
	if _, _, err = c.OpenWebSocket("a", "/refused"); !errors.As(err, &reset) || reset.Code != http2.ErrCodeRefusedStream {
		t.Errorf("got %v, want a refused stream", err)
	}
	if stream, _, err = c.OpenWebSocket("a", "/goaway"); err != nil {
		t.Fatal(err)
	}
	if code, err := c.AwaitGoAway(); code != http2.ErrCodeNo || err != nil {
		t.Errorf("got GOAWAY %v, %v", code, err)
	}
	if _, err = stream.Write([]byte("x")); err != nil {
		t.Error("a stream ended with a GOAWAY:", err)
	}
	if _, err = c.Open(WebSocket("a", "/"), false); err == nil {
		t.Error("a stream was opened after a GOAWAY")
	}
	c, err = DialClient(s.Addr(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ping(); err != nil {
		t.Error(err)
	}
	if _, _, err = c.OpenWebSocket("a", "/cut"); err == nil {
		t.Error("a connection that was cut gave an answer")
	}
	<-c.Done()
}

func TestDeadlines(t *testing.T) {
	s := start(t, nil, Options{}, echo)
	c, err := DialClient(s.Addr(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stream, _, err := c.OpenWebSocket("a", "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.SetReadDeadline(time.Now().Add(time.Millisecond))
	var late net.Error
	if _, err := stream.Read(make([]byte, 1)); !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestRawFrames(t *testing.T) {
	s := start(t, nil, Options{}, echo)
	conn, err := Dial(s.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := NewRaw(conn)
	if err := errors.Join(r.Begin(), r.Headers(1, false, WebSocket("a", "/")...), r.Data(1, true, []byte("hello"))); err != nil {
		t.Fatal(err)
	}
	if fields, isEnd, err := r.AwaitHead(1); err != nil || isEnd || fieldOf(fields, ":status") != "200" {
		t.Errorf("got %v, %v, %v", fields, isEnd, err)
	}
	if _, err := r.Await("DATA", func(f http2.Frame) bool {
		data, ok := f.(*http2.DataFrame)
		return ok && string(data.Data()) == "hello"
	}); err != nil {
		t.Error(err)
	}
}

// An HTTP/1.1 client and an HTTP/1.1 backend find each other over both bridges.
func TestBridges(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/refused":
			http.Error(w, "no", http.StatusForbidden)
		case r.Header.Get("Upgrade") == "":
			body, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, body)
		default:
			conn, _, _, err := ws.HTTPUpgrader{Protocol: func(offered string) bool { return offered == "b" }}.Upgrade(r, w)
			if err != nil {
				return
			}
			defer conn.Close()
			for {
				message, op, err := wsutil.ReadClientData(conn)
				if err != nil || wsutil.WriteServerMessage(conn, op, message) != nil {
					return
				}
			}
		}
	}))
	defer backend.Close()
	server, client := certificates()
	for name, secure := range map[string][2]*tls.Config{"plain": {}, "TLS": {server, client}} {
		t.Run(name, func(t *testing.T) {
			back, err := Back(strings.TrimPrefix(backend.URL, "http://"), secure[0], BridgeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer back.Close()
			front, err := Front(back.Addr(), secure[1], BridgeOptions{Streams: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer front.Close()
			var open []net.Conn
			for range 5 {
				conn, _, handshake, err := ws.Dialer{Protocols: []string{"a", "b"}}.Dial(t.Context(), "ws://"+front.Addr()+"/")
				if err != nil || handshake.Protocol != "b" {
					t.Fatal(handshake, err)
				}
				open = append(open, conn)
			}
			for i, conn := range slices.Backward(open) {
				want := strings.Repeat(fmt.Sprint(i), 100_000)
				go func() { _ = wsutil.WriteClientText(conn, []byte(want)) }()
				if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != want {
					t.Fatalf("got %d bytes and %v", len(got), err)
				}
			}
			if n := len(front.Conns()); n != 3 {
				t.Errorf("5 streams of 2 a connection have %d connections, want 3", n)
			}
			for _, conn := range open {
				_ = conn.Close()
			}
			_, _, _, err = ws.Dial(t.Context(), "ws://"+front.Addr()+"/refused")
			if status, ok := err.(ws.StatusError); !ok || status != 403 {
				t.Errorf("got %v, want 403", err)
			}
			for _, body := range []io.Reader{nil, strings.NewReader("sized"), io.MultiReader(strings.NewReader("chunked"))} {
				response, err := http.Post("http://"+front.Addr()+"/path?q", "text/plain", body)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(response.Body)
				if !strings.HasPrefix(string(got), "POST /path?q") || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				_ = response.Body.Close()
			}
		})
	}
}
