package driver

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// BenchmarkEcho measures a round trip of 64 bytes through a driver over loopback: four system calls of the peers and what the driver
// adds to them. It does not show many sessions: one session's state stays in the cache.
func BenchmarkEcho(b *testing.B) {
	for _, k := range kinds {
		if k.isVirtual {
			continue
		}
		b.Run(k.name, func(b *testing.B) {
			x := join(b, openTested(b, k), k, setup{config: relay.Config{}})
			go echo(x)
			c := x.client
			asked := c.frame(isFin|opBinary, question)
			answer := make([]byte, len(x.backend.frame(isFin|opBinary, question)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.conn.Write(asked); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c.conn, answer); err != nil {
					b.Fatal(err)
				}
			}
			c.reset() // so that the backend's echo ends
		})
	}
}

// BenchmarkServe measures what a loop does for one event: 64 bytes from a client to a backend, over Unix sockets, without epoll and
// without another goroutine. The two calls of the peers are in it too.
func BenchmarkServe(b *testing.B) {
	l, err := newLoop(newClock(), newPools(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer l.poller.Close()
	client, clientEnd := unixPair(b, false)
	backend, backendEnd := unixPair(b, false)
	var fds, peers [2]int
	for side, conns := range [2][2]net.Conn{{clientEnd, client}, {backendEnd, backend}} {
		for i, into := range []*int{&fds[side], &peers[side]} {
			if *into, err = epoll.Detach(conns[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	h := &Handle{}
	l.begin(Params{Config: (&setup{}).filled(), Owner: newOwner(), Handle: h}, fds, [2]*tls.Conn{})
	e := &epoll.Event{Events: unix.EPOLLIN}
	e.Fd, e.Pad = int32(h.id), int32(h.id>>32)
	asked := (&peer{b, relay.Client, nil}).frame(isFin|opBinary, question)
	got := make([]byte, len(asked))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := epoll.Write(peers[relay.Client], asked); err != nil {
			b.Fatal(err)
		}
		l.serve(e)
		if n, err := epoll.Read(peers[relay.Backend], got); n != len(asked) || err != nil {
			b.Fatalf("%d bytes, %v; want %d", n, err, len(asked))
		}
	}
}
