//go:build linux && race

package epoll

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// With the race detector the calls go through package unix, which reports the memory that the kernel reads and writes.

func epollCtl(epfd, op, fd int, e *Event) unix.Errno {
	return errnoOf(unix.EpollCtl(epfd, op, fd, (*unix.EpollEvent)(e)))
}

func epollWait(epfd int, events *[maxEvents]Event) (int, unix.Errno) {
	n, err := unix.EpollWait(epfd, unsafe.Slice((*unix.EpollEvent)(&events[0]), maxEvents), 0)
	return n, errnoOf(err)
}

func timerfdSettime(fd int, t *unix.ItimerSpec) unix.Errno {
	return errnoOf(unix.TimerfdSettime(fd, 0, t, nil))
}

func accept(listener int, peer *unix.RawSockaddrAny) (int, unix.Errno) {
	size := uint32(unix.SizeofSockaddrAny)
	r, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(listener), uintptr(unsafe.Pointer(peer)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(r), errno
}

func recv(fd int, p []byte) (int, unix.Errno) {
	n, err := unix.Read(fd, p)
	return n, errnoOf(err)
}

func send(fd int, p []byte) (int, unix.Errno) {
	n, err := unix.Write(fd, p)
	return n, errnoOf(err)
}

func sendmsg(fd int, msg *unix.Msghdr) (int, unix.Errno) {
	var slices [][]byte
	for _, v := range unsafe.Slice(msg.Iov, msg.Iovlen) {
		slices = append(slices, unsafe.Slice(v.Base, v.Len))
	}
	n, err := unix.Writev(fd, slices)
	return n, errnoOf(err)
}

func connect(fd int, addr unsafe.Pointer, size uintptr) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(addr), size)
	return errno
}

func setsockopt(fd, level, name int, value *int32) unix.Errno {
	return errnoOf(unix.SetsockoptInt(fd, level, name, int(*value)))
}

func closeFD(fd int) { _ = unix.Close(fd) }

func splice(from, to, n int) (int, unix.Errno) {
	moved, err := unix.Splice(from, nil, to, nil, n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	return int(moved), errnoOf(err)
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	_ = errors.As(err, &errno)
	return errno
}
