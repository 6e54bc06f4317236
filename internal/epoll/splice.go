//go:build linux

package epoll

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Splice moves at most n bytes between a socket and a pipe, without copying them where the kernel can. moved is 0 with every error:
// unix.EAGAIN when nothing is there or nothing is taken, io.EOF at the end of a socket's stream, else the descriptors'. It never blocks.
func Splice(from, to, n int) (moved int, err error) {
	for {
		moved, errno := splice(from, to, n)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, errno
		case moved == 0:
			return 0, io.EOF
		default:
			return moved, nil
		}
	}
}

// Pipe returns a pipe for Splice, of size bytes if the user may still have so large a one. The caller owns both ends.
func Pipe(size int) (read, write int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, -1, fmt.Errorf("create pipe: %w", err)
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, size)
	return fds[0], fds[1], nil
}
