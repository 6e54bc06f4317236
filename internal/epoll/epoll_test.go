//go:build linux

package epoll_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
)

func TestWaitReportsWhatIsReadableWithItsData(t *testing.T) {
	p := newPoller(t)
	a, b := socketPair(t)
	const data = 0xfedc_ba98_7654_3210
	if err := p.Add(a, unix.EPOLLIN, data); err != nil {
		t.Fatal(err)
	}
	write(t, b, "x")
	events := wait(t, p, time.Now().Add(10*time.Second))
	if len(events) != 1 || events[0].Data() != data || events[0].Events != unix.EPOLLIN {
		t.Fatalf("Wait = %+v; want one EPOLLIN with data %x", events, uint64(data))
	}
	if err := p.Del(a); err != nil {
		t.Fatal(err)
	}
	if events := wait(t, p, time.Now().Add(time.Millisecond)); len(events) != 0 {
		t.Errorf("Wait after Del = %+v; want none", events)
	}
}

func TestModChangesEventsAndData(t *testing.T) {
	p := newPoller(t)
	a, _ := socketPair(t)
	if err := p.Add(a, unix.EPOLLIN, 1); err != nil {
		t.Fatal(err)
	}
	if err := p.Mod(a, unix.EPOLLOUT, 2); err != nil {
		t.Fatal(err)
	}
	events := wait(t, p, time.Now().Add(10*time.Second))
	if len(events) != 1 || events[0].Data() != 2 || events[0].Events != unix.EPOLLOUT {
		t.Fatalf("Wait = %+v; want EPOLLOUT with data 2", events)
	}
}

func TestWaitEndsAtItsDeadlineAndNotBefore(t *testing.T) {
	p := newPoller(t)
	start := time.Now()
	deadline := start.Add(20 * time.Millisecond)
	for range 2 { // the second one has passed already
		if events := wait(t, p, deadline); len(events) != 0 {
			t.Fatalf("Wait = %+v; want none", events)
		}
		if now := time.Now(); now.Before(deadline) {
			t.Fatalf("Wait returned %v before its deadline", deadline.Sub(now))
		}
	}
	if passed := time.Since(start); passed > 10*time.Second {
		t.Errorf("two waits for one deadline took %v", passed)
	}
}

func TestWakeEndsTheWaitOfAnotherGoroutine(t *testing.T) {
	p := newPoller(t)
	for range 100 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.Wake()
			p.Wake()
		}()
		if events := wait(t, p, time.Time{}); len(events) != 0 {
			t.Fatalf("Wait = %+v; want none", events)
		}
		<-done
		// The second Wake may count for this Wait or for the next one.
		wait(t, p, time.Now().Add(time.Microsecond))
	}
}

func TestWakeAfterCloseDoesNothing(t *testing.T) {
	p, err := epoll.New()
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	p.Wake()
}

func TestWaitDoesNotAllocate(t *testing.T) {
	p := newPoller(t)
	a, b := socketPair(t)
	if err := p.Add(a, unix.EPOLLIN, 1); err != nil {
		t.Fatal(err)
	}
	buf, slices := make([]byte, 16), [][]byte{[]byte("he"), []byte("llo")}
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := epoll.Writev(b, slices); err != nil {
			t.Error(err)
		}
		if events, err := p.Wait(time.Now().Add(time.Second)); err != nil || len(events) != 1 {
			t.Errorf("Wait = %v, %v", events, err)
		}
		if n, err := epoll.Read(a, buf); n != 5 || err != nil {
			t.Errorf("Read = %d, %v", n, err)
		}
		if _, err := epoll.Read(a, buf); err != unix.EAGAIN {
			t.Errorf("Read of an empty socket = %v", err)
		}
	})
	if allocs != 0 && !raceEnabled {
		t.Errorf("a turn makes %v allocations; want 0", allocs)
	}
}

func TestReadAndWriteReportFullEmptyAndEnded(t *testing.T) {
	a, b := socketPair(t)
	buf := make([]byte, 64<<10)
	if n, err := epoll.Read(a, buf); n != 0 || err != unix.EAGAIN {
		t.Errorf("Read of an empty socket = %d, %v; want 0, EAGAIN", n, err)
	}
	sent := 0
	for {
		n, err := epoll.Write(a, buf)
		if err == unix.EAGAIN && n == 0 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	_ = unix.Shutdown(a, unix.SHUT_WR)
	got := 0
	for {
		n, err := epoll.Read(b, buf)
		if err == io.EOF && n == 0 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	if got != sent {
		t.Errorf("read %d bytes; %d were written", got, sent)
	}
	if _, err := epoll.Write(a, buf); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Write after the shutdown = %v; want EPIPE", err)
	}
}

func TestWritevSendsSlicesInOrderUpToItsLimit(t *testing.T) {
	a, b := socketPair(t)
	var slices [][]byte
	for i := range epoll.MaxSlices + 2 {
		slices = append(slices, bytes.Repeat([]byte{byte('a' + i)}, i%3)) // empty ones among them
	}
	want := bytes.Join(slices[:epoll.MaxSlices], nil)
	n, err := epoll.Writev(a, slices)
	if n != len(want) || err != nil {
		t.Fatalf("Writev = %d, %v; want %d", n, err, len(want))
	}
	got := make([]byte, 256)
	n, err = epoll.Read(b, got)
	if err != nil || !bytes.Equal(got[:n], want) {
		t.Errorf("Read = %q, %v; want %q", got[:n], err, want)
	}
	if n, err := epoll.Writev(a, [][]byte{nil, {}}); n != 0 || err != nil {
		t.Errorf("Writev of nothing = %d, %v; want 0, nil", n, err)
	}
}

func TestDetachKeepsReceivedBytesAndAcceptReturnsNonBlocking(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	lfd, err := epoll.Dup(ln.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(lfd)
	if _, _, err := epoll.Accept(lfd); err != unix.EAGAIN {
		t.Fatalf("Accept without a client = %v; want EAGAIN", err)
	}
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := newPoller(t)
	if err := p.Add(lfd, unix.EPOLLIN, 1); err != nil {
		t.Fatal(err)
	}
	wait(t, p, time.Now().Add(10*time.Second))
	afd, _, err := epoll.Accept(lfd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(afd)
	write(t, afd, "early")
	fd, err := epoll.Detach(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := p.Add(fd, unix.EPOLLIN, 2); err != nil {
		t.Fatal(err)
	}
	wait(t, p, time.Now().Add(10*time.Second))
	buf := make([]byte, 16)
	if n, err := epoll.Read(fd, buf); string(buf[:n]) != "early" || err != nil {
		t.Errorf("Read = %q, %v; want the bytes that came before Detach", buf[:n], err)
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write to a detached connection = %v; want net.ErrClosed", err)
	}
}

func newPoller(t *testing.T) *epoll.Poller {
	t.Helper()
	p, err := epoll.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func socketPair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
	})
	return fds[0], fds[1]
}

func wait(t *testing.T, p *epoll.Poller, deadline time.Time) []epoll.Event {
	t.Helper()
	events, err := p.Wait(deadline)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func write(t *testing.T, fd int, s string) {
	t.Helper()
	if n, err := epoll.Write(fd, []byte(s)); n != len(s) || err != nil {
		t.Fatalf("Write(%q) = %d, %v", s, n, err)
	}
}
