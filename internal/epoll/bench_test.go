//go:build linux

package epoll_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
)

// BenchmarkWait isolates a Wait that finds an event at once, as in a busy loop; BenchmarkWaitParked one that parks, which
// includes the runtime's poller.
//
//	go test ./internal/epoll -run '^$' -bench Wait -count 10 | benchstat -
func BenchmarkWait(b *testing.B) {
	p, _, peer := pollerOfOne(b)
	if _, err := epoll.Write(peer, []byte("x")); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if events, err := p.Wait(time.Time{}); err != nil || len(events) != 1 {
			b.Fatal(events, err)
		}
	}
}

func BenchmarkWaitParked(b *testing.B) {
	p, fd, peer := pollerOfOne(b)
	asked := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range asked {
			_, _ = epoll.Write(peer, []byte("x"))
		}
	}()
	buf := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		asked <- struct{}{}
		if events, err := p.Wait(time.Time{}); err != nil || len(events) != 1 {
			b.Fatal(events, err)
		}
		if _, err := epoll.Read(fd, buf); err != nil {
			b.Fatal(err)
		}
	}
	close(asked)
	<-done
}

func pollerOfOne(b *testing.B) (p *epoll.Poller, fd, peer int) {
	p, err := epoll.New()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
	})
	if err := p.Add(fds[0], unix.EPOLLIN, 1); err != nil {
		b.Fatal(err)
	}
	return p, fds[0], fds[1]
}
