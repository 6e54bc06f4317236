package proxy

import (
	"io"
	"net"
	"testing"
)

func TestSendProxyTellsEachBackendOfItsClient(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Pools[0].SendProxy = true
		g := s.run(t)
		wantHeader := func(b, c *wire) {
			t.Helper()
			b.mayWait()
			got := make([]byte, 28)
			if _, err := io.ReadFull(b.reader, got); err != nil {
				t.Fatal(err)
			}
			// The signature; version 2, PROXY; TCP over IPv4; 12 bytes: both addresses and both ports.
			want := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01"
			for _, a := range []net.Addr{c.LocalAddr(), c.RemoteAddr()} {
				port := a.(*net.TCPAddr).Port
				want += string([]byte{byte(port >> 8), byte(port)})
			}
			if string(got) != want {
				t.Fatalf("header %q, want %q", got, want)
			}
			b.readHead(t)
		}
		c := g.dial(t)
		c.send(t, getting("/"))
		b := backend.connected(t)
		wantHeader(b, c)
		b.send(t, answering("1"))
		c.wantBody(t, 200, "1")
		c.send(t, getting("/"))
		b.readHead(t) // the same client uses the same connection
		b.send(t, answering("2"))
		c.wantBody(t, 200, "2")

		for _, text := range []string{getting("/"), asking("/")} { // other clients never get that connection
			other := g.dial(t)
			other.send(t, text)
			wantHeader(backend.connected(t), other)
		}
	})
}
