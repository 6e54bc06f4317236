package tls

import (
	"context"
	ctls "crypto/tls"
	"net"
	"testing"
)

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
