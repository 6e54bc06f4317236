package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/zap"

	"sluice/proxy"
	"sluice/proxy/session"
)

func noReload(context.Context) ([]string, error) { return nil, nil }

// get asks for a value and reads it.
func get[T any](g *testGateway, method, path string, status int) (value T) {
	g.Helper()
	answer, body := ask(g.T, method, "http://"+g.admin+path, "", "")
	if answer.StatusCode != status {
		g.Fatalf("%s %s: %d %s, want %d", method, path, answer.StatusCode, body, status)
	}
	if err := json.Unmarshal([]byte(body), &value); err != nil {
		g.Fatalf("%s %s: %q: %v", method, path, body, err)
	}
	return value
}

func TestListsTellWhatTheGatewayHas(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	g.echo(g.dial("/chat/1"), "hello")
	listeners := get[Listeners](g, "GET", "/api/v1/listeners", 200).Listeners
	if len(listeners) != 1 || listeners[0].Name != "public" || listeners[0].Address != g.address || listeners[0].Sessions != 1 {
		t.Errorf("listeners %+v", listeners)
	}
	routes := get[Routes](g, "GET", "/api/v1/routes", 200).Routes
	if len(routes) != 2 || routes[0].Path != "/chat" || routes[0].Sessions != 1 || routes[1].Path != "/" || routes[1].Sessions != 0 {
		t.Errorf("routes %+v", routes)
	}
	pools := get[Pools](g, "GET", "/api/v1/pools", 200).Pools
	if len(pools) != 1 || pools[0].Name != "echo" || pools[0].Sessions != 1 || pools[0].Available != 2 || len(pools[0].Backends) != 2 {
		t.Fatalf("pools %+v", pools)
	}
	for i, backend := range pools[0].Backends {
		// Faults B9: nothing is known of the one that has got no session.
		state := "up"
		if backend.Sessions == 0 {
			state = "unprobed"
		}
		if backend.Address != g.backends[i] || backend.State != state || !backend.IsAvailable || backend.EjectedUntil != nil {
			t.Errorf("backend %+v", backend)
		}
	}
}

// waitForEnds waits until the last session has ended and all has been told of it: a list lacks it a moment before.
func (g *testGateway) waitForEnds() {
	g.Helper()
	for end := time.Now().Add(patience); get[proxy.TotalsView](g, "GET", "/api/v1/totals", 200).Sessions > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.Fatal("a session doesn't end")
		}
	}
}

func TestTotalsAndBackendsTellWhatSessionsHaveMoved(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	before := get[proxy.TotalsView](g, "GET", "/api/v1/totals", 200)
	if before.Sessions != 0 || len(before.Closes) != 0 || before.IsDraining || before.Started.After(before.Time) {
		t.Errorf("totals of an idle gateway: %+v", before)
	}
	want := session.FlowView{}
	for i := range 4 { // the first two end, and count on
		conn := g.dial("/")
		for range 3 {
			g.echo(conn, "hello")
			want.Frames, want.Messages, want.Bytes = want.Frames+1, want.Messages+1, want.Bytes+5
		}
		if i < 2 {
			_ = conn.Close()
			g.waitForEnds()
		}
	}
	after := get[proxy.TotalsView](g, "GET", "/api/v1/totals", 200)
	if after.Sessions != 2 || after.ToBackend != want || after.ToClient != want {
		t.Errorf("totals %+v, want %+v both ways", after, want)
	}
	var sum session.FlowView
	for _, b := range get[Pools](g, "GET", "/api/v1/pools", 200).Pools[0].Backends {
		if b.ToBackend != b.ToClient || b.ToBackend.Frames == 0 {
			t.Errorf("backend %+v", b)
		}
		sum.Frames, sum.Messages, sum.Bytes = sum.Frames+b.ToBackend.Frames, sum.Messages+b.ToBackend.Messages, sum.Bytes+b.ToBackend.Bytes
	}
	if sum != want {
		t.Errorf("the backends' sum is %+v, want %+v", sum, want)
	}
	if n := len(after.PingRTT.BoundsSeconds); n == 0 || len(after.PingRTT.Client) != n+1 || len(after.PingRTT.Backend) != n+1 {
		t.Errorf("round-trip times %+v", after.PingRTT)
	}
}

func TestLastClosesTellWhoClosedAndWhy(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	if got := get[Closes](g, "GET", "/api/v1/closes", 200).Closes; len(got) != 0 {
		t.Errorf("closes of an idle gateway: %+v", got)
	}
	conn := g.dial("/chat/1?token=secret")
	g.echo(conn, "hello")
	shown := get[session.Page](g, "GET", "/api/v1/sessions", 200).Sessions[0]
	get[Closed](g, "DELETE", "/api/v1/sessions/"+shown.ID+"?code=4321", 200)
	g.wantClose(conn, 4321)
	g.waitForEnds()
	closes := get[Closes](g, "GET", "/api/v1/closes", 200).Closes
	if len(closes) != 1 {
		t.Fatalf("closes %+v", closes)
	}
	flow := session.FlowView{Frames: 1, Messages: 1, Bytes: 5}
	want := session.CloseView{
		ID: shown.ID, Listener: "public", Route: "/chat", Pool: "echo", Backend: shown.Backend.Address, Client: conn.LocalAddr().String(), Path: "/chat/1",
		Ended: closes[0].Ended, DurationSeconds: closes[0].DurationSeconds, Code: 4321, InitiatorView: session.InitiatorView{Initiator: "gateway", ClosedBy: "gateway"}, Reason: "operator", ToBackend: flow, ToClient: flow,
	}
	if closes[0] != want || closes[0].Ended.Before(shown.Started) || closes[0].DurationSeconds <= 0 {
		t.Errorf("close %+v, want %+v", closes[0], want)
	}
	// The last 50 stay, the newest first.
	for i := range 60 {
		conn := g.dial("/")
		if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(4000+i), "")))); err != nil {
			t.Fatal(err)
		}
		if header, err := ws.ReadHeader(conn); err != nil || header.OpCode != ws.OpClose {
			t.Fatalf("frame %+v, %v; want the close's answer", header, err)
		}
		_ = conn.Close()
		g.waitForEnds()
	}
	closes = get[Closes](g, "GET", "/api/v1/closes", 200).Closes
	if len(closes) != 50 {
		t.Fatalf("%d closes, want 50", len(closes))
	}
	byClient := session.InitiatorView{Initiator: "client", ClosedBy: "client"}
	for i, c := range closes {
		if c.Code != uint16(4059-i) || c.InitiatorView != byClient || c.Reason != "close" {
			t.Errorf("close %d: %+v", i, c)
		}
	}
	totals := get[proxy.TotalsView](g, "GET", "/api/v1/totals", 200)
	// Of the client's codes from 3000 on 32 are counted apart, and the others together.
	rest := session.CloseCount{InitiatorView: byClient, Reason: "close", Code: session.RareCode, Count: 28}
	if n := len(totals.Closes); n != 34 || totals.Closes[0] != rest || totals.Closes[1] != (session.CloseCount{InitiatorView: byClient, Reason: "close", Code: 4000, Count: 1}) {
		t.Errorf("%d kinds of closes, at first %+v", n, totals.Closes[:2])
	}
	if _, body := ask(t, "GET", "http://"+g.admin+"/metrics", "", ""); !strings.Contains(body, `sluice_closes_total{code="4321",initiator="gateway",reason="operator"} 1`) {
		t.Error("the metrics don't count the close")
	}
}

func TestSessionIsShownWhole(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	began := time.Now()
	conn := g.dial("/chat/1?token=secret")
	g.echo(conn, "hello")
	g.echo(conn, "you")
	page := get[session.Page](g, "GET", "/api/v1/sessions", 200)
	if len(page.Sessions) != 1 || page.Next != "" {
		t.Fatalf("page %+v", page)
	}
	s := get[session.View](g, "GET", "/api/v1/sessions/"+page.Sessions[0].ID, 200)
	if s.Listener != "public" || s.Route != "/chat" || s.Pool != "echo" || s.Host != g.address || s.Path != "/chat/1" || s.Subprotocol != "chat.v1" {
		t.Errorf("session %+v", s)
	}
	if s.Client.Address != conn.LocalAddr().String() || s.Client.TLS != "" || s.Client.QueuedBytes != 0 || s.Client.PingRTTSeconds != nil {
		t.Errorf("client %+v, want it at %s", s.Client, conn.LocalAddr())
	}
	if s.Backend.Address != g.backends[0] && s.Backend.Address != g.backends[1] {
		t.Errorf("backend %+v", s.Backend)
	}
	if want := (session.FlowView{Frames: 2, Messages: 2, Bytes: 8}); s.ToBackend != want || s.ToClient != want {
		t.Errorf("to backend %+v, to client %+v; want %+v", s.ToBackend, s.ToClient, want)
	}
	if age := time.Since(began).Seconds(); s.AgeSeconds <= 0 || s.AgeSeconds > age || s.IdleSeconds < 0 || s.IdleSeconds > age || s.IsClosing {
		t.Errorf("age %v, idle %v, closing %v after %v", s.AgeSeconds, s.IdleSeconds, s.IsClosing, age)
	}
}

func TestSessionIsClosedWithTheCodeThatWasAskedFor(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	for query, want := range map[string]ws.StatusCode{"": 1012, "?code=4321": 4321} {
		conn := g.dial("/")
		id := get[session.Page](g, "GET", "/api/v1/sessions", 200).Sessions[0].ID
		if closed := get[Closed](g, "DELETE", "/api/v1/sessions/"+id+query, 200); closed.Closed != 1 {
			t.Errorf("DELETE %s: %+v", query, closed)
		}
		g.wantClose(conn, want)
		g.waitForSessions(0)
		get[Error](g, "GET", "/api/v1/sessions/"+id, 404)
		get[Error](g, "DELETE", "/api/v1/sessions/"+id, 404)
	}
}

// waitForSessions waits until so many sessions live.
func (g *testGateway) waitForSessions(want int) {
	g.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got := len(get[session.Page](g, "GET", "/api/v1/sessions", 200).Sessions)
		if got == want {
			return
		}
		if time.Now().After(end) {
			g.Fatalf("%d sessions, want %d", got, want)
		}
	}
}

func TestDrainedBackendLosesItsSessionsAndGetsNone(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	conn := g.dial("/")
	g.echo(conn, "hello")
	backend := get[session.Page](g, "GET", "/api/v1/sessions", 200).Sessions[0].Backend.Address
	at := "/api/v1/pools/echo/backends/" + url.PathEscape(backend)
	if view := get[proxy.BackendView](g, "POST", at+"/drain?over=0s", 200); view.State != "draining" || view.IsAvailable {
		t.Errorf("drained backend %+v", view)
	}
	g.wantClose(conn, 1012)
	g.waitForSessions(0)
	for range 4 {
		g.dial("/")
	}
	for _, s := range get[session.Page](g, "GET", "/api/v1/sessions", 200).Sessions {
		if s.Backend.Address == backend {
			t.Errorf("a session on the drained backend: %+v", s)
		}
	}
	if view := get[proxy.BackendView](g, "POST", at+"/undrain", 200); view.State != "up" || !view.IsAvailable {
		t.Errorf("undrained backend %+v", view)
	}
	for _, path := range []string{
		"/api/v1/pools/none/backends/" + url.PathEscape(backend), "/api/v1/pools/echo/backends/127.0.0.1%3A1", "/api/v1/pools/echo/backends/unix%3A%2Frun%2Fx.sock",
	} {
		get[Error](g, "POST", path+"/drain", 404)
		get[Error](g, "POST", path+"/undrain", 404)
	}
	for _, query := range []string{"?over=soon", "?over=-1s", "?over=25h", "?over=", "?for=30s", "?over=1s&over=2s", "?over=%zz"} {
		get[Error](g, "POST", at+"/drain"+query, 400)
	}
}

func TestTheConfigurationIsShownAsJSONAndAsTOML(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	if got := get[Configuration](g, "GET", "/api/v1/config", 200); len(got.Files) != 1 || len(got.Waiting) != 1 || got.Waiting[0].Configured != nil {
		t.Errorf("configuration %+v", got)
	}
	ask := func(query string) (*http.Response, string) {
		request, err := http.NewRequest("GET", "http://"+g.admin+"/api/v1/config?"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		return send(t, request)
	}
	if answer, body := ask("format=toml"); answer.StatusCode != 200 || body != "# a\n" || answer.Header.Get("Content-Type") != "application/toml" {
		t.Errorf("as TOML: %d %s", answer.StatusCode, body)
	}
	for _, wrong := range []string{"format=yaml", "format=", "f=toml"} {
		answer, body := ask(wrong)
		wantError(t, answer, body, http.StatusBadRequest)
	}
}

func TestLogLevelIsToldAndChanged(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	if got := get[Level](g, "GET", "/api/v1/log/level", 200); got.Level != "warn" {
		t.Errorf("level %+v", got)
	}
	put := func(body string) (*http.Response, string) {
		request, err := http.NewRequest("PUT", "http://"+g.admin+"/api/v1/log/level", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		return send(t, request)
	}
	if answer, body := put(`{"level":"error"}`); answer.StatusCode != 200 || body != "{\"level\":\"error\"}\n" || g.level.Level() != zap.ErrorLevel {
		t.Errorf("PUT error: %d %s, then %s", answer.StatusCode, body, g.level)
	}
	for _, wrong := range []string{``, `{`, `{}`, `"debug"`, `{"level":"loud"}`, `{"level":"panic"}`, `{"level":"info","for":1}`, `{"level":"info"}{}`, `[]`} {
		answer, body := put(wrong)
		wantError(t, answer, body, http.StatusBadRequest)
	}
	answer, body := put(`{"level":"` + strings.Repeat("x", mostBodyBytes) + `"}`)
	wantError(t, answer, body, http.StatusRequestEntityTooLarge)
	if g.level.Level() != zap.ErrorLevel {
		t.Errorf("a refused PUT changed the level to %s", g.level)
	}
}

func TestReloadTellsAllProblems(t *testing.T) {
	var waiting []string
	var problems error
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, func(context.Context) ([]string, error) { return waiting, problems })
	for _, waiting = range [][]string{nil, {"admin.pprof", "gateway.workers"}} { // Faults C9.
		if got := get[Reloaded](g, "POST", "/api/v1/reload", 200); got.Status != "applied" || !slices.Equal(got.Waiting, waiting) {
			t.Errorf("reload: %+v, want applied, and %q waiting", got, waiting)
		}
	}
	problems = errors.New("sluice.toml:1: a: wrong\nsluice.toml:2: b: wrong")
	if got := get[Error](g, "POST", "/api/v1/reload", 422); got.Error != problems.Error() {
		t.Errorf("reload with problems: %q", got.Error)
	}
}

func TestReloadIsAbsentUntilThereIsOne(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	get[Error](g, "POST", "/api/v1/reload", 404)
}

func TestUpgradeTellsWhatMovedOrWhyNothingDid(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	if got := get[Error](g, "POST", "/api/v1/upgrade", 409); got.Error != "no upgrade" {
		t.Errorf("a failed upgrade: %q", got.Error)
	}
	want := Upgraded{PID: 7, Build: "v2 go1", Moved: 3, Stayed: map[string]int{"tls_1_2": 1}, Seconds: 0.5, LongestPause: 0.25}
	g.upgraded.Store(&want)
	if got := get[Upgraded](g, "POST", "/api/v1/upgrade", 200); !reflect.DeepEqual(got, want) {
		t.Errorf("upgrade: %+v, want %+v", got, want)
	}
}

func TestBodyOverTheLimitIsRefusedWhereverItGoes(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	for _, path := range []string{"/api/v1/sessions", "/api/v1/pools/echo/backends/x/drain", "/healthz", "/nowhere"} {
		for _, isChunked := range []bool{false, true} {
			request, err := http.NewRequest("POST", "http://"+g.admin+path, strings.NewReader(strings.Repeat("x", mostBodyBytes+1)))
			if err != nil {
				t.Fatal(err)
			}
			if isChunked {
				request.ContentLength = -1
			}
			answer, body := send(t, request)
			wantError(t, answer, body, http.StatusRequestEntityTooLarge)
		}
	}
}

func TestStatusTellsOfTheProcessAndItsLimits(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, last := range []*LastReload{nil, {At: at, Result: "applied"}, {At: at, Result: "refused", Error: "a problem"}} {
		older := []Older{{PID: 8, Sessions: 12}}
		g.process.Store(&Process{Build: "v1 go1", Start: at, LastReload: last, Older: older})
		s := get[Status](g, "GET", "/api/v1/status", 200)
		if s.Build != "v1 go1" || !s.Start.Equal(at) || !reflect.DeepEqual(s.LastReload, last) || !slices.Equal(s.Older, older) {
			t.Errorf("status %+v; want the last reload %+v", s.Process, last)
		}
		if s.Limits.MaxSessions != 20_000 || len(s.Listeners.Listeners) != 1 {
			t.Errorf("status %+v", s)
		}
	}
}
