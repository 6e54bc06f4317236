//go:build unix

package driver

import "golang.org/x/sys/unix"

// canTry reports whether sockets can be read and written without blocking.
const canTry = true

const errAgain = unix.EAGAIN

func tryRead(fd int, p []byte) (n int, err error) {
	for {
		if n, err = unix.Read(fd, p); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func tryWrite(fd int, p []byte) (n int, err error) {
	for {
		if n, err = unix.Write(fd, p); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}
