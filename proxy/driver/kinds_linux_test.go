package driver

import (
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func init() {
	kinds = append(kinds,
		&kind{name: "loop over TCP", open: openLoops, pair: tcpPair, hasReset: true},
		&kind{name: "loop over Unix sockets", open: openLoops, pair: unixPair},
	)
}

func openLoops(t testing.TB) Driver {
	d, err := NewLoops(2)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func unixPair(t testing.TB, small bool) (peer, gateway net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		conns[i], err = net.FileConn(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	if small {
		shrink(conns[0], conns[1])
	}
	return conns[0], conns[1]
}
