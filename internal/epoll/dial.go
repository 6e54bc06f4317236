//go:build linux

package epoll

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Dial starts to connect a non-blocking TCP socket, with TCP_NODELAY. It does not block. The caller owns fd, which becomes writable when
// it is connected (on loopback mostly at once) or has failed; the next Write returns the failure. The error is a unix.Errno.
func Dial(addr netip.AddrPort) (fd int, err error) {
	if ip := addr.Addr().Unmap(); ip.Is4() {
		sa := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(addr.Port()), Addr: ip.As4()}
		return dial(unix.AF_INET, unsafe.Pointer(&sa), unsafe.Sizeof(sa))
	}
	sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(addr.Port()), Addr: addr.Addr().As16()}
	return dial(unix.AF_INET6, unsafe.Pointer(&sa), unsafe.Sizeof(sa))
}

// DialUnix is Dial for the path of a Unix socket.
func DialUnix(path string) (fd int, err error) {
	sa := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	if len(path) >= len(sa.Path) {
		return -1, unix.ENAMETOOLONG
	}
	for i := range len(path) {
		sa.Path[i] = int8(path[i])
	}
	return dial(unix.AF_UNIX, unsafe.Pointer(&sa), unsafe.Sizeof(sa.Family)+uintptr(len(path))+1)
}

func dial(family int, addr unsafe.Pointer, size uintptr) (fd int, err error) {
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if family != unix.AF_UNIX {
		Tune(fd)
	}
	if errno := connect(fd, addr, size); errno != 0 && errno != unix.EINPROGRESS && errno != unix.EINTR {
		closeFD(fd)
		return -1, errno
	}
	return fd, nil
}

// networkOrder returns an integer whose bytes in memory are those of port in network byte order, and the reverse.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// Close closes the descriptor of a socket without entering the scheduler, since that does not block.
func Close(fd int) { closeFD(fd) }

// unsentBytes bounds what the kernel accepts for a peer beyond what is on its way. Without a bound it is up to tcp_wmem, 4 MiB, for each
// peer that reads nothing.
const unsentBytes = 128 << 10

// Tune sets what sockets of sessions have in common: TCP_NODELAY, as package net does, and TCP_NOTSENT_LOWAT. A listening socket passes
// both on to its connections. A failure is ignored, since it costs only latency or memory; of a Unix socket it is the rule.
func Tune(fd int) {
	one, unsent := int32(1), int32(unsentBytes)
	setsockopt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, &one)
	setsockopt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, &unsent)
}

// Widen lifts the bound of unsentBytes for a socket. Then the system's net.ipv4.tcp_notsent_lowat applies.
func Widen(fd int) {
	system := int32(0)
	setsockopt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, &system)
}
