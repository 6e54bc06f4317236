package admin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/proxy"
	"sluice/proxy/session"
)

// A monkey makes requests of what the API knows and of what it doesn't.
type monkey struct {
	*rand.Rand
	gateway *testGateway
	ids     []string // of sessions, some of which have ended
}

var (
	monkeyMethods = []string{"GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "get", "X"}
	monkeyPaths   = []string{
		"/", "*", "/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/listeners", "/api/v1/routes", "/api/v1/pools",
		"/api/v1/sessions", "/api/v1/sessions", "/api/v1/sessions/ID", "/api/v1/sessions/ID", "/api/v1/log/level", "/api/v1/reload", "/api/v1/upgrade",
		"/api/v1/pools/echo/backends/BACKEND/drain", "/api/v1/pools/echo/backends/BACKEND/undrain", "/api/v1/pools/x/backends/y/drain",
	}
	monkeyKeys   = []string{"listener", "route", "pool", "backend", "client", "path", "idle", "age", "limit", "cursor", "code", "all", "over", "x"}
	monkeyValues = []string{
		"", "public", "/", "/chat", "echo", "127.0.0.1", "10.0.0.0/8", "::1/64", "1ms", "5m", "-1s", "99999999h", "1", "0", "1000", "-1", "1e9",
		"1012", "1005", "true", "18446744073709551616", "ffffffffffffffffffffffffffffffff", "%00", "\x00", "é", "../..", strings.Repeat("9", 300),
	}
	monkeyBodies  = []string{"", "", `{"level":"warn"}`, `{"level":"loud"}`, `{"level":`, `{}{}`, `[[[[[`, "\x00\xff", strings.Repeat("[", 10_000), strings.Repeat("x", mostBodyBytes+1)}
	monkeyHeaders = []string{
		"Origin: https://evil.example", "Origin: null", "Host: evil.example", "Authorization: Bearer x", "Content-Length: 5", "Content-Length: -1",
		"Transfer-Encoding: chunked", "Expect: 100-continue", "Connection: close", "Connection: Upgrade\r\nUpgrade: websocket", "Content-Type: text/html",
		"X: " + strings.Repeat("x", 20<<10), " folded", "Range: bytes=0-0", "If-None-Match: *", "Accept-Encoding: gzip",
	}
)

func pickOf[T any](m *monkey, all []T) T { return all[m.IntN(len(all))] }

// request returns a request as it goes on the wire, most often well-formed.
func (m *monkey) request() []byte {
	path := pickOf(m, monkeyPaths)
	id := "0000000000000000"
	if len(m.ids) > 0 {
		id = pickOf(m, m.ids)
	}
	path = strings.Replace(path, "ID", id, 1)
	path = strings.Replace(path, "BACKEND", url.PathEscape(pickOf(m, m.gateway.backends)), 1)
	separator := "?"
	for m.IntN(3) == 0 {
		path += separator + pickOf(m, monkeyKeys) + "=" + strings.NewReplacer(" ", "%20", "\x00", "%00").Replace(pickOf(m, monkeyValues))
		separator = "&"
	}
	body := pickOf(m, monkeyBodies)
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", pickOf(m, monkeyMethods), path, m.gateway.admin, len(body))
	for m.IntN(4) == 0 {
		text += pickOf(m, monkeyHeaders) + "\r\n"
	}
	wire := []byte(text + "\r\n" + body)
	for m.IntN(8) == 0 { // a byte of it changes, comes twice, or is lost
		i := m.IntN(len(wire))
		switch m.IntN(3) {
		case 0:
			wire[i] = byte(m.IntN(256))
		case 1:
			wire = append(wire[:i+1], wire[i:]...)
		default:
			wire = append(wire[:i], wire[i+1:]...)
		}
	}
	return wire
}

// send sends a request and checks the answer, if there is one: no failure of the gateway, and an error is JSON.
func (m *monkey) send(wire []byte) {
	conn, err := net.Dial("tcp", m.gateway.admin)
	if err != nil {
		m.gateway.Fatalf("the admin port is gone: %v", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		m.gateway.Fatal(err)
	}
	_, _ = conn.Write(wire) // it may be refused before its end
	_ = conn.(*net.TCPConn).CloseWrite()
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: methodOf(wire)})
	if err != nil || answer.StatusCode == http.StatusContinue {
		return // cut, for it was no HTTP, or asked to go on with what doesn't come
	}
	body, err := io.ReadAll(answer.Body)
	if answer.StatusCode == http.StatusServiceUnavailable && len(body) == 0 {
		return // net/http takes our half-close for the end of whom the metrics are for
	}
	if answer.StatusCode >= 500 && answer.StatusCode != http.StatusHTTPVersionNotSupported && answer.StatusCode != http.StatusNotImplemented {
		m.gateway.Errorf("%q: %s %s", wire, answer.Status, body)
	}
	// Of what isn't HTTP net/http says so as text, and closes.
	if answer.Header.Get("Content-Type") != "application/json" || err != nil || len(body) == 0 {
		return
	}
	var text struct{ Error string }
	if err := json.Unmarshal(body, &text); err != nil || answer.StatusCode >= 400 && text.Error == "" {
		m.gateway.Errorf("%q: %s %s", wire, answer.Status, body)
	}
}

func methodOf(wire []byte) string {
	method, _, _ := bytes.Cut(wire, []byte(" "))
	return string(method)
}

// With SLUICE_TEST_ADMIN_CHAOS=5m it takes that long.
func TestAdminPortSurvivesWhateverIsAsked(t *testing.T) {
	span := 2 * time.Second
	if text := os.Getenv("SLUICE_TEST_ADMIN_CHAOS"); text != "" {
		var err error
		if span, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	g := startGateway(t, Config{Address: "127.0.0.1:0", Pprof: true}, noReload)
	seed := uint64(time.Now().UnixNano())
	m := &monkey{Rand: rand.New(rand.NewPCG(seed, 0)), gateway: g}
	count := 0
	for end := time.Now().Add(span); time.Now().Before(end) && !t.Failed(); count++ {
		if count%200 == 0 {
			g.undrainAll()
			_ = g.dial("/").Close()
			for _, s := range get[session.Page](g, "GET", "/api/v1/sessions", 200).Sessions {
				m.ids = append(m.ids, s.ID)
			}
			m.ids = m.ids[max(0, len(m.ids)-20):]
		}
		m.send(m.request())
	}
	t.Logf("%d requests, seed %d", count, seed)
	g.undrainAll()
	g.waitForSessions(0)
	g.echo(g.dial("/"), "still there")
}

func (g *testGateway) undrainAll() {
	g.Helper()
	for _, backend := range g.backends {
		get[proxy.BackendView](g, "POST", "/api/v1/pools/echo/backends/"+url.PathEscape(backend)+"/undrain", 200)
	}
}
