package netconn

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// AwaitHangup blocks until the peer of conn has ended its stream, or the connection is broken, and reads nothing. It returns an error if
// the read deadline passes before, or the connection is closed.
func AwaitHangup(conn net.Conn) error {
	socket, isSocket := Socket(conn).(syscall.Conn)
	if !isSocket {
		return errNoSocket
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool { return poll(fd, unix.POLLRDHUP) != 0 })
}

// IsBroken reports whether the connection is broken, as by a reset of its peer, and reads nothing. With isEnded it reports whether the peer
// has ended its stream as well.
func IsBroken(conn net.Conn, isEnded bool) (is bool) {
	socket, isSocket := Socket(conn).(syscall.Conn)
	if !isSocket {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	events := int16(0)
	if isEnded {
		events = unix.POLLRDHUP
	}
	_ = raw.Control(func(fd uintptr) { is = poll(fd, events) != 0 })
	return is
}

// poll returns which of the events a socket has now; POLLERR and POLLHUP are always among them.
func poll(fd uintptr, events int16) int16 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	if _, err := unix.Poll(fds, 0); err != nil {
		return 0
	}
	return fds[0].Revents
}
