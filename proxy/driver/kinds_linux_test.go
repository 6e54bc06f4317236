package driver

import (
	"crypto/tls"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/proxy/relay"
	"sluice/tls/record"
)

func init() {
	openers["loop"] = openLoops
	openers["loop with crypto/tls"] = openLoopsWithCryptoTLS
	kinds = append(kinds,
		&kind{name: "loop over TCP", open: openLoops, pair: tcpPair, hasReset: true, isPaused: isPausedInLoop},
		&kind{name: "loop over Unix sockets", open: openLoops, pair: unixPair, isPaused: isPausedInLoop},
		&kind{name: "loop over TLS 1.3 of clients", open: openLoops, pair: tcpPair, hasReset: true, isPaused: isPausedInLoop,
			tls: security{tls.VersionTLS13, 0}},
		&kind{name: "loop over TLS 1.3 of backends", open: openLoops, pair: tcpPair, hasReset: true, isPaused: isPausedInLoop,
			tls: security{0, tls.VersionTLS13}},
		&kind{name: "loop over TLS 1.3 of clients and 1.2 of backends", open: openLoops, pair: tcpPair, hasReset: true, isPaused: isPausedInLoop,
			tls: security{tls.VersionTLS13, tls.VersionTLS12}},
		&kind{name: "loop over TLS 1.3 of both", open: openLoops, pair: tcpPair, hasReset: true, isPaused: isPausedInLoop,
			tls: security{tls.VersionTLS13, tls.VersionTLS13}},
		&kind{name: "loop over TLS 1.3 whose keys change", open: openLoopsThatChangeKeys, pair: tcpPair, hasReset: true, isPaused: isPausedInLoop,
			tls: security{tls.VersionTLS13, tls.VersionTLS13}, changesKeys: true},
		&kind{name: "loop over TLS 1.3 by crypto/tls", open: openLoopsWithCryptoTLS, pair: tcpPair, hasReset: true, isPaused: isPausedInLoop,
			tls: security{tls.VersionTLS13, tls.VersionTLS13}},
		&kind{name: "loop over TLS 1.2 of an unknown make", open: openLoopsThatLendNothing, pair: tcpPair, hasReset: true, isPaused: isPausedInLoop,
			tls: security{tls.VersionTLS12, tls.VersionTLS12}},
	)
}

func openLoops(t testing.TB) Driver {
	d, err := NewLoops(2, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// openLoopsThatLendNothing is for a crypto/tls whose buffers aren't where they are known to be.
func openLoopsThatLendNothing(t testing.TB) Driver {
	d := openLoops(t)
	for l := range d.(*Loops).all() {
		l.do(func() { l.lends = false })
	}
	return d
}

// openLoopsWithCryptoTLS is for a crypto/tls whose secrets aren't where they are known to be.
func openLoopsWithCryptoTLS(t testing.TB) Driver {
	d := openLoops(t)
	for l := range d.(*Loops).all() {
		l.do(func() { l.takesRecords = false })
	}
	return d
}

// openLoopsThatChangeKeys changes the keys of what it sends every few records.
func openLoopsThatChangeKeys(t testing.TB) Driver {
	d := openLoops(t)
	for l := range d.(*Loops).all() {
		l.do(func() { l.limitRecords(10) })
	}
	return d
}

// limitRecords sets after how many records a loop without sessions over TLS changes their keys.
func (l *loop) limitRecords(limit uint64) {
	l.tls = &tlsMemory{layer: record.NewLayer()}
	l.tls.layer.Limit = limit
}

func isPausedInLoop(h *Handle, side relay.Side) (isPaused bool) {
	l := h.controller.(*loop)
	l.do(func() {
		s, isLive := l.slots.find(h.id)
		isPaused = isLive && s.core.IsPaused(side)
	})
	return isPaused
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
		for _, c := range conns {
			_ = c.(*net.UnixConn).SetReadBuffer(smallBytes)
			_ = c.(*net.UnixConn).SetWriteBuffer(smallBytes)
		}
	}
	return conns[0], conns[1]
}
