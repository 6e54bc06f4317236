package tls

import (
	"context"
	ctls "crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAPanicAtAFileRefusesItAndTheWatchGoesOn(t *testing.T) {
	directory := t.TempDir()
	broken, other := filepath.Join(directory, "broken"), filepath.Join(directory, "other")
	replaceFile(t, broken, []byte("good"))
	replaceFile(t, other, []byte("good"))
	log, lines := newLog()
	told, reloads := make(chan any, 10), make(chan string, 10)
	taken := make(chan string, 10)
	sourceOf := func(path string) *source {
		return &source{paths: []string{path}, take: func(contents [][]byte) error {
			if string(contents[0]) == "boom" {
				panic("boom")
			}
			taken <- string(contents[0])
			return nil
		}}
	}
	w := watch{
		sources: []*source{sourceOf(broken), sourceOf(other)}, interval: time.Minute, log: log,
		panics: func(name string, cause any, stack []byte) {
			if name != room || !strings.Contains(string(stack), "tls.(*source).refresh") {
				t.Errorf("told of the room %s with the stack\n%s", name, stack)
			}
			told <- cause
		},
		reloaded: func(result string) { reloads <- result },
	}
	if err := w.load().ErrorOrNil(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	want := func(what string, got <-chan string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			select {
			case is := <-got:
				if is != want {
					t.Fatalf("%s %q, want %q", what, is, want)
				}
			case <-time.After(patience):
				t.Fatalf("%s nothing, want %q", what, want)
			}
		}
	}
	want("taken", taken, "good", "good")

	replaceFile(t, broken, []byte("boom"))
	want("reload", reloads, ReloadRefused)
	if cause := <-told; cause != "boom" {
		t.Errorf("told of %v", cause)
	}
	replaceFile(t, other, []byte("better"))
	want("reload", reloads, ReloadApplied)
	want("taken", taken, "better")
	replaceFile(t, broken, []byte("mended"))
	want("reload", reloads, ReloadApplied)
	want("taken", taken, "mended")
	if len(told) != 0 {
		t.Errorf("told of %v, too", <-told)
	}
	if n := lines.FilterMessage("file refused, the one before stays").Len(); n != 1 {
		t.Errorf("%d lines of a refused file, want 1", n)
	}
}

// The caller recovers it. A handshake without a slot never computes.
func TestAPanicOfAHandshakeGivesItsSlotBack(t *testing.T) {
	cfg := testConfig()
	cfg.SelfSigned = true
	cfg.MaxHandshakes = 1
	server := newServer(t, cfg, make(chan [2]string, 1))
	certificate := server.config.Load().GetCertificate
	get := func(*ctls.ClientHelloInfo) (*ctls.Certificate, error) { panic("boom") }
	server.changeConfig(func(config *ctls.Config) {
		config.GetCertificate = func(hello *ctls.ClientHelloInfo) (*ctls.Certificate, error) { return get(hello) }
	})
	client := func(conn net.Conn) { _ = ctls.Client(conn, &ctls.Config{InsecureSkipVerify: true}).Handshake() }
	func() {
		defer func() {
			if cause := recover(); cause != "boom" {
				t.Errorf("recovered %v, want boom", cause)
			}
		}()
		_, _ = shake(t, t.Context(), server, client)
	}()
	get = certificate
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := shake(t, ctx, server, client); err != nil {
		t.Errorf("the next handshake: %v", err)
	}
}
