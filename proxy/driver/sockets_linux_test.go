package driver

import (
	"net"
	"syscall"
)

// shrink gives a TCP socket small buffers. Its segments become small too: loopback's are larger than such a window.
func shrink(_, _ string, c syscall.RawConn) (err error) {
	_ = c.Control(func(fd uintptr) {
		for _, o := range []struct{ level, name, value int }{
			{syscall.SOL_SOCKET, syscall.SO_SNDBUF, smallBytes},
			{syscall.SOL_SOCKET, syscall.SO_RCVBUF, smallBytes},
			{syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1000},
		} {
			if err == nil {
				err = syscall.SetsockoptInt(int(fd), o.level, o.name, o.value)
			}
		}
	})
	return err
}

// arrived reports whether the other end's kernel has all that was written to a connection.
func arrived(conn net.Conn) (is bool) {
	if p, isTLS := conn.(*tlsPeer); isTLS {
		conn = p.socket
	}
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return true // what is written is there at once
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) { is = unacked(int(fd)) == 0 })
	return is
}
