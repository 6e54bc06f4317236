package driver

import (
	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
)

// A socket is the descriptor of one side, which a loop owns.
type socket struct {
	fd           int32    // -1: closed
	interest     interest // what epoll is asked for
	isAfterLarge bool     // the side's last frame was large: most of it was moved unseen (plainSocket.isAfterLarge)
	isWide       bool     // the kernel may hold as much for the side as the system says (loop.widen)
}

// interest is a set of events (unix.EPOLLIN, …), and what else is to be known of them.
type interest uint16

const (
	notWatched interest = 1 << 15 // the descriptor isn't in epoll
	oneShot    interest = 1 << 14 // epoll has reported the events, or will do so once
)

// interestIn returns the interest in events of epoll.
func interestIn(events uint32) interest {
	want := interest(events & (1<<14 - 1)) // the bits above are flags
	if events&unix.EPOLLONESHOT != 0 {
		want |= oneShot
	}
	return want
}

// read reads what has come.
func (s *socket) read(buf []byte) (n int, err error) { return epoll.Read(int(s.fd), buf) }

// tryWrite implements transport.
func (s *socket) tryWrite(spans [][]byte) (left [][]byte, sent int, err error) {
	for len(spans) > 0 {
		var n int
		if len(spans) == 1 {
			n, err = epoll.Write(int(s.fd), spans[0])
		} else {
			n, err = epoll.Writev(int(s.fd), spans)
		}
		if err == unix.EAGAIN {
			return spans, sent, nil
		}
		if err != nil {
			return spans, sent, err
		}
		sent += n
		for len(spans) > 0 && n >= len(spans[0]) {
			n -= len(spans[0])
			spans = spans[1:]
		}
		if n > 0 {
			spans[0] = spans[0][n:]
		}
	}
	return spans, sent, nil
}

// unacked implements transport.
func (s *socket) unacked() int { return unacked(int(s.fd)) }

// notify implements transport: a plain stream has nothing but its end.
func (*socket) notify() {}

// shut implements transport.
func (s *socket) shut() {
	if s.fd >= 0 {
		_ = unix.Shutdown(int(s.fd), unix.SHUT_WR)
	}
}

// close implements transport.
func (s *socket) close() {
	if s.fd >= 0 {
		epoll.Close(int(s.fd))
		s.fd = -1
	}
}

// cut implements transport.
func (s *socket) cut() {
	if s.fd >= 0 {
		_ = unix.SetsockoptLinger(int(s.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		s.close()
	}
}

// A plainSocket is the transport of a side without TLS. splice(2) is a method of plain sockets alone (loop_splice_linux.go).
type plainSocket struct{ *socket }

// seal implements transport: bytes go as they are.
func (plainSocket) seal(*batch, bool) error { return nil }
