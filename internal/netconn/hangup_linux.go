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
	return raw.Read(func(fd uintptr) bool { return isHungUp(fd) })
}

// IsHungUp reports whether the peer of conn has ended its stream, or the connection is broken, and reads nothing.
func IsHungUp(conn net.Conn) (is bool) {
	socket, isSocket := Socket(conn).(syscall.Conn)
	if !isSocket {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) { is = isHungUp(fd) })
	return is
}

func isHungUp(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}
