package proxy

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"sluice/internal/netconn"
)

// Faults C10: access lines and backends' views name the cause of a failure, on both paths.
func TestTheCauseOfAFailureIsToldToTheOperator(t *testing.T) {
	secure := func(address string) string { return "wss://" + address }
	for _, test := range []struct {
		name    string
		backend func(t *testing.T) string
		status  int64
		reason  string // of the line
		failure string // of the backend
		cause   string
	}{
		{"refused", func(t *testing.T) string { return closedAddress(t) }, 502, "dial", "refused", "connection refused"},
		{"no socket", func(t *testing.T) string { return "unix:" + filepath.Join(t.TempDir(), "none") }, 502, "dial", "no_socket", "the socket does not exist"},
		{"no TLS", func(t *testing.T) string {
			b := listenRaw(t)
			go serveEach(b, "HTTP/1.1 400 Bad Request\r\n\r\n")
			return secure(b.Addr().String())
		}, 502, "dial", "tls", "TLS: the peer speaks no TLS"},
		{"an untrusted certificate", func(t *testing.T) string {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0) // our refusal of its certificate
			server.StartTLS()
			t.Cleanup(server.Close)
			return secure(server.Listener.Addr().String())
		}, 502, "dial", "tls", "TLS: certificate signed by unknown authority"},
		{"no answer", func(t *testing.T) string { return listenRaw(t).Addr().String() }, 504, "backend_timeout", "handshake_timeout", "no answer in time"},
		{"not HTTP", func(t *testing.T) string {
			b := listenRaw(t)
			go serveEach(b, "SSH-2.0-OpenSSH\r\n\r\n")
			return b.Addr().String()
		}, 502, "bad_answer", "bad_answer", ""},
	} {
		for path, request := range map[string]string{"handshake": asking("/"), "plain": getting("/")} {
			t.Run(test.name+", "+path, func(t *testing.T) {
				withFronts(t, func(t *testing.T, driver string) {
					s := newSetup(driver, test.backend(t))
					s.Routes[0].HandshakeTimeout, s.Routes[0].ResponseTimeout = milliseconds(500), milliseconds(500)
					g := s.run(t)
					c := g.dial(t)
					c.send(t, request)
					_ = c.answer(t)
					line := g.lines(t, 1)[0].ContextMap()
					cause, _ := line["error"].(string)
					if line["status"] != test.status || line["reason"] != test.reason || cause == "" || test.cause != "" && cause != test.cause {
						t.Errorf("the line is %v; want %d, %q, %q", line, test.status, test.reason, test.cause)
					}
					f := g.Pools()[0].Backends[0].LastFailure
					if f == nil || f.Reason != test.failure || f.Error != cause || f.Since == nil || f.At.IsZero() {
						t.Errorf("the last failure is %+v; want %q, %q", f, test.failure, cause)
					}
					if n := g.log.FilterMessage("backend failure").Len(); n != 1 {
						t.Errorf("%d lines about the failure", n)
					}
				})
			})
		}
	}
}

// serveEach reads a request of each connection, answers with a text, and closes.
func serveEach(b rawBackend, text string) {
	for {
		c, err := b.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte(text))
		netconn.LingerClose(c)
	}
}

// Faults C11: a closed tab is not a lost client, and a killed backend not an application's own error.
func TestClosesAreCountedByTheirReason(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].CloseCodes.BackendLost = 1011
		g := s.run(t)
		for _, end := range []func(c, b *wire){
			func(c, b *wire) { c.send(t, c.closing(1001)); b.wantClose(t, 1001); b.send(t, b.closing(1001)) },
			func(c, b *wire) { _ = c.Close(); b.wantClose(t, 1001); _ = b.Close() },
			func(c, b *wire) { b.send(t, b.closing(1011)); c.wantClose(t, 1011); c.send(t, c.closing(1011)) },
			func(c, b *wire) { netconn.Cut(b.Conn); c.wantClose(t, 1011); _ = c.Close() },
		} {
			end(g.open(t, backend))
			g.wantIdle(t)
		}
		for _, labels := range [][]string{
			{"initiator=client", "code=1001", "reason=closed"}, {"initiator=client", "code=1001", "reason=lost"},
			{"initiator=backend", "code=1011", "reason=closed"}, {"initiator=backend", "code=1011", "reason=reset"},
		} {
			if n := g.metric(t, "sluice_closes_total", labels...); n != 1 {
				t.Errorf("%v: %v sessions; want 1", labels, n)
			}
		}
		if n := g.metric(t, "sluice_closes_total"); n != 4 {
			t.Errorf("%v sessions have ended; want 4", n)
		}
	})
}
