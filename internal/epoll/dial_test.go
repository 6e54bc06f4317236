//go:build linux

package epoll_test

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
)

func TestDialReachesTCPAndUnixListeners(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "unix": filepath.Join(t.TempDir(), "s")}[network]
			ln, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			var fd int
			if network == "unix" {
				fd, err = epoll.DialUnix(address)
			} else {
				fd, err = epoll.Dial(netip.MustParseAddrPort(ln.Addr().String()))
			}
			if err != nil {
				t.Fatal(err)
			}
			defer epoll.Close(fd)
			p := newPoller(t)
			if err := p.Add(fd, unix.EPOLLOUT, 1); err != nil {
				t.Fatal(err)
			}
			wait(t, p, time.Now().Add(10*time.Second))
			write(t, fd, "hello")
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			buf := make([]byte, 16)
			n, err := conn.Read(buf)
			if string(buf[:n]) != "hello" || err != nil {
				t.Errorf("Read = %q, %v", buf[:n], err)
			}
		})
	}
}

func TestDialReportsARefusedConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(ln.Addr().String())
	ln.Close()
	fd, err := epoll.Dial(address)
	if err == nil {
		defer epoll.Close(fd)
		p := newPoller(t)
		if err := p.Add(fd, unix.EPOLLOUT, 1); err != nil {
			t.Fatal(err)
		}
		wait(t, p, time.Now().Add(10*time.Second))
		_, err = epoll.Write(fd, []byte("x"))
	}
	if err != unix.ECONNREFUSED {
		t.Errorf("Dial = %v; want ECONNREFUSED", err)
	}
	if _, err := epoll.DialUnix(filepath.Join(t.TempDir(), "none")); err != unix.ENOENT {
		t.Errorf("DialUnix of nothing = %v; want ENOENT", err)
	}
}
