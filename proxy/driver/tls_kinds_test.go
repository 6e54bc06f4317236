package driver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// A security is the version of TLS that each side of a kind speaks; 0: none.
type security struct{ client, backend uint16 }

func init() {
	kinds = append(kinds,
		&kind{name: "goroutine over TLS 1.3", open: openGoroutine, pair: tcpPair, hasReset: true, isPaused: isPausedInGoroutines,
			tls: security{tls.VersionTLS13, tls.VersionTLS13}},
	)
}

// of returns the version of a side.
func (c security) of(side relay.Side) uint16 {
	if side == relay.Client {
		return c.client
	}
	return c.backend
}

// secured does a TLS handshake between a peer and the gateway, on the side where the peer is.
func (c security) secured(t testing.TB, side relay.Side, peer, gateway net.Conn) (net.Conn, net.Conn) {
	t.Helper()
	version := c.of(side)
	if version == 0 {
		return peer, gateway
	}
	server := &tls.Config{Certificates: []tls.Certificate{testCertificate}, MinVersion: version, MaxVersion: version}
	client := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
	lower := NewSwitch(gateway, nil)
	var ours, theirs *tls.Conn
	if side == relay.Client {
		ours, theirs = tls.Server(lower, server), tls.Client(peer, client)
	} else {
		ours, theirs = tls.Client(lower, client), tls.Server(peer, server)
	}
	done := make(chan error, 1)
	go func() { done <- theirs.Handshake() }()
	if err := ours.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return &tlsPeer{theirs, peer}, ours
}

// A tlsPeer is a peer's connection that ends as a socket does, with close_notify.
type tlsPeer struct {
	*tls.Conn
	socket net.Conn
}

// CloseWrite ends the stream: close_notify, then TCP's.
func (p *tlsPeer) CloseWrite() error {
	_ = p.Conn.CloseWrite()
	return p.socket.(interface{ CloseWrite() error }).CloseWrite()
}

// SetLinger is for a reset: without close_notify.
func (p *tlsPeer) SetLinger(seconds int) error {
	_ = p.socket.(interface{ SetLinger(int) error }).SetLinger(seconds)
	return p.socket.Close()
}

// testCertificate is what every server of a test shows. Nobody checks it.
var testCertificate = func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}()

// openers are the drivers; those of this system add theirs.
var openers = map[string]func(testing.TB) Driver{"goroutine": openGoroutine}
