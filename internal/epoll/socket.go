//go:build linux

package epoll

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read receives the bytes that a socket has, at most len(p), which is not 0. n is 0 with every error: unix.EAGAIN if the socket has no
// bytes, io.EOF at the end of the stream, else the socket's error. It never blocks, in any mode of fd, and does not allocate.
func Read(fd int, p []byte) (n int, err error) {
	for {
		n, errno := recv(fd, p)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return 0, errno
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Write sends as much of p as the socket accepts now. If that is nothing, n is 0 and the error unix.EAGAIN. It never blocks, raises no
// SIGPIPE and does not allocate.
func Write(fd int, p []byte) (n int, err error) {
	for {
		n, errno := send(fd, p)
		switch errno {
		case 0:
			return n, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// MaxSlices is the maximum of slices that one Writev sends.
const MaxSlices = 16

// Writev is Write of several slices, in one call: the first MaxSlices of them, so n may end between two slices.
func Writev(fd int, slices [][]byte) (n int, err error) {
	var iov [MaxSlices]unix.Iovec
	count := 0
	for _, s := range slices[:min(len(slices), MaxSlices)] {
		if len(s) > 0 {
			iov[count].Base = &s[0]
			iov[count].SetLen(len(s))
			count++
		}
	}
	if count == 0 {
		return 0, nil
	}
	msg := unix.Msghdr{Iov: &iov[0]}
	msg.SetIovlen(count)
	for {
		n, errno := sendmsg(fd, &msg)
		switch errno {
		case 0:
			return n, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Accept returns a connection of a non-blocking listening socket. The error is unix.EAGAIN if none waits. The caller owns fd, which is
// non-blocking. peer is the zero AddrPort for a Unix socket.
func Accept(listener int) (fd int, peer netip.AddrPort, err error) {
	var addr unix.RawSockaddrAny
	for {
		fd, errno := accept(listener, &addr)
		switch errno {
		case 0:
			return fd, addrPort(&addr), nil
		case unix.EINTR:
		default:
			return -1, netip.AddrPort{}, errno
		}
	}
}

// addrPort converts an address of the kernel. IPv4 mapped into IPv6 becomes IPv4.
func addrPort(addr *unix.RawSockaddrAny) netip.AddrPort {
	switch addr.Addr.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(addr))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), networkOrder(sa.Port))
	case unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(addr))
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), networkOrder(sa.Port))
	}
	return netip.AddrPort{}
}

// Dup returns a duplicate of the descriptor of a socket of package net, which is non-blocking, too. The caller owns fd. c is unchanged.
func Dup(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("access the descriptor: %w", err)
	}
	fd = -1
	var dupErr error
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, fmt.Errorf("access the descriptor: %w", err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("duplicate the descriptor: %w", dupErr)
	}
	return fd, nil
}

// Detach removes the socket of conn from the runtime's poller and returns it. It closes conn, even after an error. Received bytes that
// were not read stay in the socket.
func Detach(conn net.Conn) (fd int, err error) {
	defer conn.Close()
	c, ok := conn.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("detach %T: it has no descriptor", conn)
	}
	return Dup(c)
}
