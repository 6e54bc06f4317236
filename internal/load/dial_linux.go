package load

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// source chooses where connections come from. A pair of addresses has some 28,000 ports, so on 127.0.0.0/8 it goes on to the next
// source address when those of one run out.
type source struct {
	number int // 127.0.0.1 + number; 0: the kernel's choice
}

const maxSources = 250

// dial starts to connect a new socket, which is non-blocking and becomes writable when that is done.
func (s *source) dial(to netip.AddrPort) (fd int, err error) {
	for {
		fd, err = s.tryDial(to)
		if err != unix.EADDRNOTAVAIL || !to.Addr().Is4() || !to.Addr().IsLoopback() || s.number >= maxSources {
			break
		}
		s.number++
	}
	if err != nil {
		return -1, fmt.Errorf("connect to %s: %w", to, err)
	}
	return fd, nil
}

func (s *source) tryDial(to netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil && s.number > 0 {
		// The port is chosen by connect, which knows the other end: a bind alone would need one that is free for all.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + s.number)}})
	}
	if err == nil {
		err = unix.Connect(fd, sockaddr(to))
	}
	if err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
