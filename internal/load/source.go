package load

import (
	"errors"
	"net/netip"
	"syscall"
)

// source is the source address of connections. A pair of addresses has about 28,000 ports, so on 127.0.0.0/8 a driver uses the next
// source address when the ports of one run out.
type source int // 127.0.0.1 + source; 0: the kernel's choice

const maxSource source = 250

func (s source) addr() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + s)}) }

// hasNext reports whether a connection that failed is to be tried from the next source.
func (s source) hasNext(to netip.AddrPort, err error) bool {
	isOut := errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE)
	return isOut && to.Addr().Is4() && to.Addr().IsLoopback() && s < maxSource
}
