//go:build unix

package test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// openTLSTo opens a session whose backend's end is the test's too.
func openTLSTo(t *testing.T, g *gateway, backend rawBackend, config *tls.Config) (*tls.Conn, *bufio.Reader, *wire) {
	t.Helper()
	return openTLSAt(t, g.listeners["public"], backend, config)
}

// openTLSAt is openTLSTo for the address of a listener.
func openTLSAt(t *testing.T, address string, backend rawBackend, config *tls.Config) (*tls.Conn, *bufio.Reader, *wire) {
	t.Helper()
	socket, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	_ = socket.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(socket, config)
	if _, err := io.WriteString(conn, request("/")); err != nil {
		t.Fatal(err)
	}
	b := backend.accept(t)
	b.send(t, switching())
	reader := bufio.NewReader(conn)
	if answer, err := http.ReadResponse(reader, nil); err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %v, %v", answer, err)
	}
	return conn, reader, b
}

// How a client's stream ends makes no difference: WebSocket has a close of its own.
func TestAStreamOverTLSEndsInEitherWay(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	pair := ca.issue(t, "site")
	eachDriver(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(basics)+section("", pair)+poolAt(backend.Addr().String()))
		for name, end := range map[string]func(*tls.Conn) error{
			"close_notify alone":       func(c *tls.Conn) error { return c.CloseWrite() },
			"TCP without close_notify": func(c *tls.Conn) error { return c.NetConn().(*net.TCPConn).CloseWrite() },
			"both":                     func(c *tls.Conn) error { return errors.Join(c.CloseWrite(), c.NetConn().(*net.TCPConn).CloseWrite()) },
		} {
			t.Run(name, func(t *testing.T) {
				conn, reader, b := openTLSTo(t, g, backend, &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"})
				if err := wsutil.WriteClientText(conn, []byte("last")); err != nil {
					t.Fatal(err)
				}
				if err := end(conn); err != nil {
					t.Fatal(err)
				}
				b.wantFrame(t, ws.OpText, "last")
				b.wantClose(t, 1001)
				b.send(t, b.frame(ws.OpText, "still heard")+b.closeFrame(1001, ""))
				if f, err := readFrame(reader); err != nil || string(f.Payload) != "still heard" {
					t.Errorf("the client got %q, %v", f.Payload, err)
				}
				if f, err := readFrame(reader); err != nil || f.Header.OpCode != ws.OpClose {
					t.Errorf("the client got %v %q, %v; want a close", f.Header.OpCode, f.Payload, err)
				}
				// Without close_notify crypto/tls says io.ErrUnexpectedEOF.
				if rest, err := io.ReadAll(reader); len(rest) > 0 || err != nil {
					t.Errorf("behind the close %q, %v; want close_notify", rest, err)
				}
				b.wantGone(t)
			})
		}
	})
}

func TestAClientCutOverTLSIsToldToItsBackend(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	backend := listenRaw(t)
	g := secureGateway(t, section("", ca.issue(t, "site")), backend.Addr().String())
	conn, _, b := openTLSTo(t, g, backend, &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"})
	_ = conn.NetConn().(*net.TCPConn).SetLinger(0)
	_ = conn.NetConn().Close()
	b.wantClose(t, 1001)
	b.wantGone(t)
}

// secureWays are what may become of a connection to a listener with TLS. Its certificate is self-signed.
var secureWays = []func(t *testing.T, g *gateway, backend rawBackend){
	func(t *testing.T, g *gateway, backend rawBackend) { // a session from beginning to end
		conn, reader, b := openTLSTo(t, g, backend, &tls.Config{InsecureSkipVerify: true})
		defer conn.Close()
		_ = wsutil.WriteClientMessage(conn, ws.OpClose, ws.NewCloseFrameBody(1000, ""))
		b.wantClose(t, 1000)
		b.send(t, b.closeFrame(1000, ""))
		if f, err := readFrame(reader); err != nil || f.Header.OpCode != ws.OpClose {
			t.Errorf("the client got %v, %v; want a close", f.Header, err)
		}
		b.wantGone(t)
	},
	func(t *testing.T, g *gateway, backend rawBackend) { // a client that is cut inside a frame, and inside a record
		conn, _, b := openTLSTo(t, g, backend, &tls.Config{InsecureSkipVerify: true})
		_, _ = conn.Write([]byte("\x82\xfe\x10\x00\x00\x00\x00\x00part"))
		_, _ = conn.NetConn().Write([]byte{23, 3, 3, 1, 0, 1, 2})
		_ = conn.NetConn().(*net.TCPConn).SetLinger(0)
		_ = conn.NetConn().Close()
		b.wantGone(t)
	},
	func(t *testing.T, g *gateway, backend rawBackend) { // records that nobody sealed
		conn, _, b := openTLSTo(t, g, backend, &tls.Config{InsecureSkipVerify: true})
		_, _ = conn.NetConn().Write(append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...))
		b.wantClose(t, 1001)
		_ = b.Close()
		_, _ = io.ReadAll(conn)
		_ = conn.NetConn().Close()
	},
	func(t *testing.T, g *gateway, _ rawBackend) { // a handshake that is left
		_ = halfOpen(t, g, 1)[0].Close()
	},
	func(t *testing.T, g *gateway, _ rawBackend) { // a client that refuses the certificate
		if _, _, err := openTLS(g, &tls.Config{ServerName: "localhost"}); err == nil {
			t.Error("a certificate that nobody signed is trusted")
		}
	},
	func(t *testing.T, g *gateway, _ rawBackend) { // no version in common
		if _, _, err := openTLS(g, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
			t.Error("TLS 1.1 is spoken")
		}
	},
	func(t *testing.T, g *gateway, _ rawBackend) { // no TLS at all
		for _, text := range []string{"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n"} {
			c := dial(t, g.listeners["public"])
			c.send(t, text)
			_, _ = io.ReadAll(c)
			_ = c.Close()
		}
	},
}

func TestNothingIsLeftOfTLSConnectionsThatEnded(t *testing.T) {
	t.Parallel()
	eachDriver(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(basics)+"[listener.tls]\nself_signed = true\n"+poolAt(backend.Addr().String()))
		wantNothingLeft(t, g, backend, secureWays)
	})
}
