//go:build unix

package test

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// A lastHello is what a backend was asked and shown in its last handshake.
type lastHello struct {
	mu              sync.Mutex
	name, presented string
}

// watched is a backend's configuration that notes that.
func (l *lastHello) watched(config *tls.Config) *tls.Config {
	config.VerifyConnection = func(state tls.ConnectionState) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.name, l.presented = state.ServerName, ""
		if len(state.PeerCertificates) > 0 {
			l.presented = state.PeerCertificates[0].Subject.String()
		}
		return nil
	}
	return config
}

func TestBackendsProveThemselvesOverTLS(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	ca, stranger, clients := newAuthority(t, directory, "authority"), newAuthority(t, directory, "stranger"), newAuthority(t, directory, "clients")
	site, internal, alien := ca.issue(t, "site"), ca.issue(t, "internal", named("chat.internal")), stranger.issue(t, "alien")
	ours := clients.issue(t, "ours", subject(pkix.Name{CommonName: "gateway"}))
	trusted := fmt.Sprintf("ca = %q\n", ca.cert)
	mine := fmt.Sprintf("cert = %q\nkey = %q\n", ours.cert, ours.key)
	for name, test := range map[string]struct {
		shown    pair
		asks     bool   // the backend wants a certificate
		keys     string // of [pool.tls]
		status   int    // that the client gets
		sni      string
		presents string
	}{
		"for its address":                       {shown: site, keys: trusted, status: 101},
		"for server_name":                       {shown: internal, keys: trusted + "server_name = \"chat.internal\"\n", status: 101, sni: "chat.internal"},
		"for another name":                      {shown: internal, keys: trusted, status: 502},
		"for another name than server_name":     {shown: site, keys: trusted + "server_name = \"chat.internal\"\n", status: 502},
		"by an unknown authority":               {shown: alien, keys: trusted, status: 502},
		"without ca, by what no system knows":   {shown: site, status: 502},
		"by anybody, with insecure":             {shown: alien, keys: "insecure = true\n", status: 101},
		"and ask for a certificate":             {shown: site, asks: true, keys: trusted + mine, status: 101, presents: "CN=gateway"},
		"and ask for a certificate that is not": {shown: site, asks: true, keys: trusted, status: 502},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+", "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				seen := new(lastHello)
				config := &tls.Config{Certificates: []tls.Certificate{*test.shown.certificate()}, MaxVersion: version}
				if test.asks {
					config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, clients.pool()
				}
				backend := startSecureStub(t, "127.0.0.1:0", seen.watched(config))
				address := "wss://" + backend.address
				g := runGateway(t, poolOf("[pool.tls]\n"+test.keys, address))
				guest, err := join(g.listeners["public"], nil, "/")
				if test.status == 101 {
					if err != nil {
						t.Fatal(err)
					}
					guest.leave()
					if guest.code != 1000 {
						t.Errorf("the session's close came back as %d", guest.code)
					}
					seen.mu.Lock()
					defer seen.mu.Unlock()
					if seen.name != test.sni || seen.presented != test.presents {
						t.Errorf("the backend was asked for %q and shown %q, want %q and %q", seen.name, seen.presented, test.sni, test.presents)
					}
					return
				}
				refused := new(refusal)
				if !errors.As(err, &refused) || refused.status != test.status {
					t.Errorf("the client got %v, want %d", err, test.status)
				}
				if n := backend.asked.Load(); n > 0 {
					t.Errorf("%d requests were sent to a backend that isn't what it should be", n)
				}
				reason := "tls"
				if test.asks && version == tls.VersionTLS13 {
					reason = "handshake_reset" // in TLS 1.3 a client learns behind its handshake what is said of its certificate
				}
				if view := g.backends(t)[address]; view.Failures[reason] != 1 {
					t.Errorf("failures %v, want one of %s", view.Failures, reason)
				}
			})
		}
	}
}

func TestAnotherBackendIsTriedWhereOneCannotBeTalkedToOverTLS(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	ca, stranger := newAuthority(t, directory, "authority"), newAuthority(t, directory, "stranger")
	site, alien := ca.issue(t, "site"), stranger.issue(t, "alien")
	good := startSecureStub(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*site.certificate()}})
	for name, config := range map[string]*tls.Config{
		"it doesn't prove itself":       {Certificates: []tls.Certificate{*alien.certificate()}},
		"it wants another certificate":  {Certificates: []tls.Certificate{*site.certificate()}, ClientAuth: tls.RequireAnyClientCert},
		"it speaks older versions only": {Certificates: []tls.Certificate{*site.certificate()}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
	} {
		t.Run(name, func(t *testing.T) {
			bad := startSecureStub(t, "127.0.0.1:0", config)
			g := runGateway(t, poolOf(fmt.Sprintf("policy = \"round_robin\"\n[pool.tls]\nca = %q", ca.cert), "wss://"+bad.address, "wss://"+good.address))
			for range 4 {
				if got := g.invite(t, nil, "/").backend; got != good.address {
					t.Errorf("a session on %q", got)
				}
			}
			if n := bad.reached.Load(); n == 0 {
				t.Error("the bad one wasn't tried at all")
			}
		})
	}
}

func TestAProbeOverTLSTakesABackendOutThatDoesNotProveItself(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	ca, stranger := newAuthority(t, directory, "authority"), newAuthority(t, directory, "stranger")
	good, bad := ca.issue(t, "site"), stranger.issue(t, "alien")
	for _, kind := range []string{"tcp", "http", "websocket"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var shown atomic.Pointer[tls.Certificate]
			shown.Store(good.certificate())
			sick := startSecureStub(t, "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shown.Load(), nil }})
			steady := startSecureStub(t, "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*good.certificate()}})
			g := runGateway(t, poolOf(fmt.Sprintf("%s\n[pool.tls]\nca = %q\n", probing(kind), ca.cert), "wss://"+sick.address, "wss://"+steady.address))
			eventually(t, patience, "a second probe", func() bool { return sick.reached.Load() >= 2 })
			g.untilState(t, "wss://"+sick.address, "up")
			g.untilState(t, "wss://"+steady.address, "up")
			shown.Store(bad.certificate())
			if view := g.untilState(t, "wss://"+sick.address, "down"); view.Failures["probe"] < 2 {
				t.Errorf("down after %d failed probes, with fall = 2", view.Failures["probe"])
			}
			for range 4 {
				if got := g.invite(t, nil, "/").backend; got != steady.address {
					t.Errorf("a session on %s, which is down", got)
				}
			}
			// Its requests are answered with errors, over TLS that is good.
			shown.Store(good.certificate())
			g.untilState(t, "wss://"+sick.address, "up")
			if kind != "tcp" {
				sick.behave(busy)
				g.untilState(t, "wss://"+sick.address, "down")
			}
		})
	}
}
