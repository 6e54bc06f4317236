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

// Read receives from a socket what is there. n is 0 with every error: unix.EAGAIN when nothing is there, io.EOF at the end of the
// stream, else the socket's. p is not empty. It never blocks, whatever the mode of fd, and doesn't allocate.
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

// Write sends to a socket what it takes now, which may be less than p: unix.EAGAIN with n = 0 when that is nothing. It never blocks,
// raises no SIGPIPE and doesn't allocate.
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

// MaxSlices is how many slices one Writev sends.
const MaxSlices = 16

// Writev is Write of several slices, in one call: the first MaxSlices of them, so n may end at the border of one.
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

// Accept takes a connection from a non-blocking listening socket: unix.EAGAIN when none is there. The caller owns fd, which is
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

// addrPort reads an address as the kernel writes it; IPv4 inside IPv6 is IPv4.
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

// Dup returns a second descriptor of a socket of package net, non-blocking as that is. The caller owns fd; c stays as it is.
func Dup(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("reach the descriptor: %w", err)
	}
	fd = -1
	var dupErr error
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, fmt.Errorf("reach the descriptor: %w", err)
	}
	if dupErr != nil {
		return -1, fmt.Errorf("duplicate the descriptor: %w", dupErr)
	}
	return fd, nil
}

// Detach takes the socket of conn out of the runtime's poller and returns it; conn is closed, on an error too. Bytes that have come
// and were not read stay in the socket.
func Detach(conn net.Conn) (fd int, err error) {
	defer conn.Close()
	c, ok := conn.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("detach %T: it has no descriptor", conn)
	}
	return Dup(c)
}
