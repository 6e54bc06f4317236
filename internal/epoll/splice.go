//go:build linux

package epoll

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Splice moves at most n bytes between a socket and a pipe, without copying them if the kernel can. moved is 0 with every error:
// unix.EAGAIN if from has no bytes or to accepts none, io.EOF at the end of a socket's stream, else an error of a descriptor. It never
// blocks.
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

// Pipe returns a pipe for Splice. It has size bytes if the limit of the user's pipes allows it, and else the system's default. The caller
// owns both ends.
func Pipe(size int) (read, write int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, -1, fmt.Errorf("create pipe: %w", err)
	}
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, size)
	return fds[0], fds[1], nil
}
