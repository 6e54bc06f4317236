package netconn

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// acknowledgedInterval is the time between two looks at what a peer has acknowledged: no event reports that.
const acknowledgedInterval = 5 * time.Millisecond

// awaitAcknowledged blocks until the peer has acknowledged all that was sent, or until.
func awaitAcknowledged(socket net.Conn, until time.Time) {
	c, isSocket := socket.(syscall.Conn)
	if !isSocket {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	for left := 1; left > 0 && time.Now().Before(until); {
		if raw.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }) != nil || err != nil {
			return
		}
		if left > 0 {
			time.Sleep(acknowledgedInterval)
		}
	}
}
