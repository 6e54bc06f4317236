package demo

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	answer := httptest.NewRecorder()
	newHandler(4711).ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
	return answer
}

func TestPageCarriesAllThatItNeeds(t *testing.T) {
	answer := get(t, "/")
	body := answer.Body.String()
	if answer.Code != 200 || answer.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("GET /: %d %q", answer.Code, answer.Header().Get("Content-Type"))
	}
	if !strings.Contains(body, `data-gateway-port="4711"`) {
		t.Error("the page doesn't tell the gateway's port")
	}
	for _, id := range []string{
		"url", "subprotocols", "connect", "message", "send", "ping", "code", "reason", "close", "status", "details", "backend", "negotiated-url",
		"protocol", "extensions", "handshake", "rtt", "sent", "received", "closed", "log", "clear",
	} {
		if strings.Count(body, `id="`+id+`"`) != 1 {
			t.Errorf("the page has not exactly one element %q", id)
		}
	}
	if outside := regexp.MustCompile(`(src|href)="(?:https?:)?//[^"]*"|@import|url\(`).FindString(body); outside != "" {
		t.Errorf("the page loads from outside: %s", outside)
	}
}

func TestPagePolicyAllowsItsOwnScriptOnly(t *testing.T) {
	first, second := get(t, "/"), get(t, "/")
	nonces := regexp.MustCompile(`nonce="([^"]+)"`).FindAllStringSubmatch(first.Body.String(), -1)
	if len(nonces) != 2 || nonces[0][1] != nonces[1][1] {
		t.Fatalf("nonces of the page: %q", nonces)
	}
	policy := first.Header().Get("Content-Security-Policy")
	if !strings.Contains(policy, "script-src 'nonce-"+nonces[0][1]+"'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q for nonce %q", policy, nonces[0][1])
	}
	if strings.Contains(second.Body.String(), nonces[0][1]) {
		t.Error("two pages have one nonce")
	}
}

func TestOtherPathsAreNotFound(t *testing.T) {
	for _, path := range []string{"/index.html", "/page.js", "/favicon.ico"} {
		if answer := get(t, path); answer.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d, want 404", path, answer.Code)
		}
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	errc := make(chan error, 1)
	go func() { errc <- Serve(ctx, listener, 1) }()
	answer, err := http.Get("http://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	cancel()
	if err := <-errc; err != nil {
		t.Errorf("Serve = %v after the end of its context, want nil", err)
	}
}

func TestScriptKnowsTheGreeting(t *testing.T) {
	form := regexp.MustCompile(`/(\^hello.*\$)/\.exec`).FindStringSubmatch(pageScript)
	if form == nil {
		t.Fatal("the script looks for no greeting")
	}
	greeting := Greeting(2, &net.TCPAddr{IP: net.IPv6loopback, Port: 9000})
	if match := regexp.MustCompile(form[1]).FindStringSubmatch(greeting); match == nil || match[1] != "backend 2" || match[2] != "[::1]:9000" {
		t.Errorf("the script reads %q as %q", greeting, match)
	}
}
