package driver

import (
	"syscall"

	"sluice/internal/epoll"
)

// Tune prepares a connection for a session, or a listening socket, whose connections inherit it. What isn't a socket stays as it is.
func Tune(connOrListener any) {
	if c, isSocket := connOrListener.(syscall.Conn); isSocket {
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { epoll.Tune(int(fd)) })
		}
	}
}
