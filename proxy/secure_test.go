package proxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/proxy/session"
	"sluice/tls/rekeytest"
)

// A tlsServer secures a listener with a self-signed certificate.
type tlsServer struct{ config *tls.Config }

var newTLSServer = sync.OnceValue(func() tlsServer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	mustDo(err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	mustDo(err)
	return tlsServer{&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
})

func (s tlsServer) Handshake(ctx context.Context, conn net.Conn) (*tls.Conn, string, error) {
	secure := tls.Server(conn, s.config)
	return secure, "", secure.HandshakeContext(ctx)
}

// runSecure starts the gateway with TLS on its listener.
func (s *setup) runSecure(t *testing.T) *gateway {
	t.Helper()
	s.Listeners[0].TLS = newTLSServer()
	return s.run(t)
}

// dialSecure connects to the listener "public" over TLS. Each write is one record.
func (g *gateway) dialSecure(t *testing.T) *wire {
	t.Helper()
	w := g.dial(t)
	w.Conn = tls.Client(w.Conn, &tls.Config{InsecureSkipVerify: true})
	w.reader = bufio.NewReader(w.Conn)
	return w
}

func TestFramesThatComeBeforeTheAnswerArriveOverTLS(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).runSecure(t)
		c := g.dialSecure(t)
		c.send(t, asking("/")+c.text("with the head")) // one record
		b := backend.accept(t)
		c.send(t, c.text("after the head"))
		b.send(t, switching()+b.text("with the answer"))
		c.wantOpen(t)
		c.wantText(t, "with the answer")
		b.wantText(t, "with the head")
		b.wantText(t, "after the head")
		wantLive(t, c, b)
		page, err := g.Sessions().Page(&session.Query{}, "", 10)
		if err != nil || len(page.Sessions) != 1 || page.Sessions[0].Client.TLS == "" {
			t.Errorf("sessions %+v, %v; want one whose client has TLS", page.Sessions, err)
		}
		c.send(t, c.closing(1000))
		b.wantClose(t, 1000)
		b.send(t, b.closing(1000))
		c.wantClose(t, 1000)
		c.wantEnd(t)
	})
}

func TestOverTLSAnotherBackendIsTriedAndItsAnswerPasses(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, closedAddress(t), closedAddress(t), backend.Addr().String()).runSecure(t)
		c := g.dialSecure(t)
		c.send(t, asking("/")+c.text("early"))
		b := backend.accept(t)
		c.send(t, c.text("later"))
		b.send(t, switching())
		c.wantOpen(t)
		b.wantText(t, "early")
		b.wantText(t, "later")
		wantLive(t, c, b)

		other := g.dialSecure(t)
		other.send(t, asking("/"))
		backend.accept(t).send(t, head("HTTP/1.1 403 Forbidden", "Content-Length: 3")+"no\n")
		other.wantBody(t, 403, "no\n")
		other.wantEnd(t)
		wantLive(t, c, b)
	})
}

func TestRefusalsArriveOverTLS(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].HandshakeTimeout = milliseconds(100)
		g := s.runSecure(t)
		silent := g.dialSecure(t)
		silent.send(t, asking("/"))
		backend.accept(t)
		silent.wantRefusal(t, 504, "time")

		wrong := g.dialSecure(t)
		wrong.send(t, asking("/"))
		backend.accept(t).send(t, strings.Replace(switching(), sampleAccept, "nonsense", 1))
		wrong.wantRefusal(t, 502, "answer")

		_ = backend.Close()
		unreachable := g.dialSecure(t)
		unreachable.send(t, asking("/"))
		unreachable.wantRefusal(t, 502, "")
	})
}

func TestAClientLostOverTLSReleasesItsPlaces(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).runSecure(t)
		c := g.dialSecure(t)
		c.send(t, asking("/"))
		b := backend.accept(t)
		_ = c.Close()
		b.wantGone(t)
		g.wantIdle(t)
		eventually(t, "the client's loss in the metrics", func() bool {
			return g.metric(t, "sluice_handshakes_rejected_total", "reason=client_lost") == 1
		})
	})
}

func TestAStopEndsHandshakesOverTLS(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).runSecure(t)
		c := g.dialSecure(t)
		c.send(t, asking("/"))
		b := backend.accept(t)
		g.Close()
		c.wantGone(t)
		b.wantGone(t)
	})
}

// A backend whose TLS handshake fails has seen no byte of a request.
// Faults B6.
func TestAfterAFailedTLSHandshakeAnotherBackendIsTriedOnBothPaths(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		broken, good := listenRaw(t), listenRaw(t)
		go func() {
			for {
				c, err := broken.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		}()
		g := newSetup(driver, "wss://"+broken.Addr().String(), good.Addr().String()).run(t)
		for i := range 8 {
			c := g.dial(t)
			if i%2 == 0 {
				c.send(t, getting("/", "Connection: close"))
				good.accept(t).send(t, answering("good", "Connection: close"))
				c.wantBody(t, 200, "good")
			} else {
				c.send(t, asking("/"))
				good.accept(t).send(t, switching())
				c.wantOpen(t)
			}
			_ = c.Close()
		}
		if n := g.metric(t, "sluice_backend_failures_total", "reason=handshake_reset"); n != 0 {
			t.Errorf("%v failures count as handshake_reset; want tls", n)
		}
		if n := g.metric(t, "sluice_backend_failures_total", "reason=tls"); n == 0 {
			t.Error("the failed TLS handshakes aren't counted")
		}
	})
}

func TestAClientThatTakesNoAnswersToItsKeyUpdatesHoldsNoHandshake(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		for name, request := range map[string]string{"in the head": "GET /", "before the answer": asking("/")} {
			t.Run(name, func(t *testing.T) {
				s := newSetup(driver, listenRaw(t).Addr().String())
				s.Listeners[0].Address = "unix:" + filepath.Join(t.TempDir(), "socket") // which holds few answers
				s.Listeners[0].HeadTimeout, s.Routes[0].HandshakeTimeout = milliseconds(2000), milliseconds(2000)
				socket := s.runSecure(t).dial(t).Conn
				conn, err := rekeytest.Client(socket, &tls.Config{InsecureSkipVerify: true})
				if err == nil {
					_, err = conn.Write([]byte(request))
				}
				if err != nil {
					t.Fatal(err)
				}
				mustDo(socket.SetWriteDeadline(time.Now().Add(time.Minute)))
				for err == nil {
					var records []byte
					if records, err = conn.AppendRekeyed(nil, 15, true, []byte("x")); err == nil { // crypto/tls takes 16 in a row
						err = conn.WriteRecords(records)
					}
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the gateway waits until the client takes its answers")
				}
			})
		}
	})
}
