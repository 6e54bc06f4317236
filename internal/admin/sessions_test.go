package admin

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice/proxy/session"
)

// ids returns the ids on all pages of a query, and fails if one is there twice.
func (g *testGateway) ids(query string, limit int) (ids []string) {
	g.Helper()
	seen := map[string]bool{}
	for cursor := ""; ; {
		page := get[session.Page](g, "GET", fmt.Sprintf("/api/v1/sessions?limit=%d%s%s", limit, query, cursor), 200)
		if len(page.Sessions) > limit {
			g.Fatalf("a page of %d with limit %d", len(page.Sessions), limit)
		}
		for _, s := range page.Sessions {
			if seen[s.ID] {
				g.Errorf("session %s is on two pages", s.ID)
			}
			seen[s.ID] = true
			ids = append(ids, s.ID)
		}
		if page.Next == "" {
			return ids
		}
		cursor = "&cursor=" + page.Next
	}
}

func TestPagesHoldEachSessionOnce(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	for range 23 {
		g.dial("/")
	}
	for _, limit := range []int{1, 7, 23, 100} {
		if got := len(g.ids("", limit)); got != 23 {
			t.Errorf("%d sessions in pages of %d, want 23", got, limit)
		}
		if got := len(g.ids("&idle=1ns", limit)); got != 23 {
			t.Errorf("%d idle sessions in pages of %d, want 23", got, limit)
		}
	}
	first := get[session.Page](g, "GET", "/api/v1/sessions?limit=10", 200)
	last := g.dial("/") // stands behind all that is there
	second := get[session.Page](g, "GET", "/api/v1/sessions?cursor="+first.Next, 200)
	if len(second.Sessions) != 14 || second.Sessions[13].Client.Address != last.LocalAddr().String() {
		t.Errorf("second page of %d sessions", len(second.Sessions))
	}
}

func TestFiltersChooseSessions(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	conns := []net.Conn{g.dial("/"), g.dial("/chat/1"), g.dial("/chat/2")}
	at := get[session.Page](g, "GET", "/api/v1/sessions", 200).Sessions
	inPool := 0
	for _, s := range at {
		if s.Backend.Address == g.backends[0] {
			inPool++
		}
	}
	// The two others come to be idle for longer than an echo takes.
	for end := time.Now().Add(patience); ; {
		g.echo(conns[0], "busy")
		if len(get[session.Page](g, "GET", "/api/v1/sessions?idle=100ms", 200).Sessions) == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("idle=100ms never chooses the two idle sessions")
		}
	}
	tests := []struct {
		query string
		want  int
	}{
		{"listener=public", 3},
		{"route=/chat", 2}, {"route=/", 1},
		{"pool=echo", 3},
		{"backend=" + url.QueryEscape(g.backends[0]), inPool},
		{"client=127.0.0.1", 3}, {"client=127.0.0.0/8", 3}, {"client=10.0.0.0/8", 0}, {"client=::1", 0}, {"client=::ffff:127.0.0.1", 3},
		{"path=/chat/2", 1}, {"path=/chat", 2}, {"path=/chat/", 2}, {"path=/", 3}, {"path=/ch", 0}, {"path=/chat/2/", 1}, // Faults D.
		{"path=/chat&route=/chat&client=127.0.0.1", 2}, {"path=/chat&route=/", 0},
		{"id=" + at[1].ID, 1}, {"id=" + at[1].ID + "&path=/none", 0}, {"id=0000000000000000", 0}, {"id=x", 0},
		{"age=1ms", 3}, {"age=1h", 0}, {"idle=1h", 0}, {"idle=1ns", 3},
	}
	for _, test := range tests {
		if got := len(get[session.Page](g, "GET", "/api/v1/sessions?"+test.query, 200).Sessions); got != test.want {
			t.Errorf("%s chooses %d sessions, want %d", test.query, got, test.want)
		}
	}
}

// Faults D.
func TestAFilterByANameThatNothingHasIsRefused(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	for _, query := range []string{"listener=typo", "route=/typo", "pool=typo", "backend=typo", "pool=echo&route=/typo"} {
		for _, method := range []string{"GET", "DELETE"} {
			name := query[strings.LastIndexByte(query, '=')+1:]
			if got := get[Error](g, method, "/api/v1/sessions?"+query, 404); !strings.Contains(got.Error, name) {
				t.Errorf("%s with %s: %q", method, query, got.Error)
			}
		}
	}
	if got := get[session.Page](g, "GET", "/api/v1/sessions?listener=public&route=/chat&pool=echo&backend="+url.QueryEscape(g.backends[0]), 200); len(got.Sessions) > 0 {
		t.Errorf("sessions %+v, want none", got.Sessions)
	}
}

// Faults D.
func TestAPathChoosesWholeSegments(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	five, below, other := g.dial("/a/5"), g.dial("/a/5/x"), g.dial("/a/55")
	if closed := get[Closed](g, "DELETE", "/api/v1/sessions?path=/a/5&code=4000", 200); closed.Closed != 2 {
		t.Errorf("closed %+v, want 2", closed)
	}
	g.wantClose(five, 4000)
	g.wantClose(below, 4000)
	g.echo(other, "alive")
}

func TestFilterClosesWhatItChooses(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	var chat, others []net.Conn
	for i := range 40 {
		chat = append(chat, g.dial(fmt.Sprintf("/chat/%d", i)))
		others = append(others, g.dial("/"))
	}
	if closed := get[Closed](g, "DELETE", "/api/v1/sessions?route=/chat&code=4000", 200); closed.Closed != 40 {
		t.Errorf("closed %+v, want 40", closed)
	}
	for _, conn := range chat {
		g.wantClose(conn, 4000)
	}
	g.waitForSessions(40)
	for _, conn := range others {
		g.echo(conn, "alive")
	}
	if closed := get[Closed](g, "DELETE", "/api/v1/sessions?all=true", 200); closed.Closed != 40 {
		t.Errorf("closed %+v, want 40", closed)
	}
	for _, conn := range others {
		g.wantClose(conn, 1012)
	}
	g.waitForSessions(0)
	if closed := get[Closed](g, "DELETE", "/api/v1/sessions?idle=1h", 200); closed.Closed != 0 {
		t.Errorf("closed %+v, want 0", closed)
	}
}

func TestWrongFiltersAreRefused(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	conn := g.dial("/")
	for _, query := range []string{
		"limit=0", "limit=-1", "limit=1001", "limit=ten", "limit=", "cursor=1", "cursor=" + "zz345678901234567890123456789012",
		"idle=5", "idle=-5s", "idle=0s", "age=long", "client=localhost", "path=chat", "client=10.0.0.0%2F33", "colour=red", "route=/&route=/", "%zz=1", "route", "a;b",
	} {
		get[Error](g, "GET", "/api/v1/sessions?"+query, 400)
	}
	for _, query := range []string{"", "code=1012", "all=false", "all=true&route=/", "all=1", "code=1005&all=true", "code=1&all=true", "code=x&all=true", "code=70000&all=true", "limit=1&all=true"} {
		get[Error](g, "DELETE", "/api/v1/sessions?"+query, 400)
	}
	id := get[session.Page](g, "GET", "/api/v1/sessions", 200).Sessions[0].ID
	for _, query := range []string{"code=1006", "code=", "code=5000", "all=true", "code=1000&code=1001"} {
		get[Error](g, "DELETE", "/api/v1/sessions/"+id+"?"+query, 400)
	}
	for _, unknown := range []string{"0000000000000000", "1", "x", "%2e%2e", "0x" + id[2:], id + "0", "%00"} {
		get[Error](g, "GET", "/api/v1/sessions/"+unknown, 404)
		get[Error](g, "DELETE", "/api/v1/sessions/"+unknown, 404)
	}
	g.echo(conn, "nothing was closed")
}
