package systemd

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"
	"golang.org/x/sys/unix"
)

// Sockets are the listening sockets that systemd opened for the service and that Take has not returned yet. The zero value has none.
// Owned by one goroutine.
type Sockets struct{ left []socket }

type socket struct {
	name     string // FileDescriptorName= of the socket unit
	listener net.Listener
}

// firstFD is SD_LISTEN_FDS_START: the first descriptor that systemd passes.
const firstFD = 3

// maxFDs is far above the number of sockets that a unit opens.
const maxFDs = 1024

// NewSockets takes over the sockets that the environment describes, and removes the variables from the environment. The error names
// each descriptor that is not a listening stream socket; the other sockets are usable in spite of it.
func NewSockets() (*Sockets, error) {
	isForThis := os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	s := new(Sockets)
	if !isForThis || err != nil || count < 0 || count > maxFDs {
		return s, nil
	}
	var problems *multierror.Error
	for i := range count {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		unix.CloseOnExec(firstFD + i)
		if err := s.add(name, firstFD+i); err != nil {
			problems = multierror.Append(problems, err)
		}
	}
	return s, problems.ErrorOrNil()
}

// add takes over a descriptor.
func (s *Sockets) add(name string, fd int) error {
	file := os.NewFile(uintptr(fd), name)
	defer file.Close() // the listener has a duplicate
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("socket %q of systemd, descriptor %d: %w", name, fd, err)
	}
	s.left = append(s.left, socket{name, listener})
	return nil
}

// Take returns the socket for a listener: the one with its name, or else the one that is bound to its address ("host:port" or
// "unix:/path"). The caller owns it. It returns nil if there is none.
func (s *Sockets) Take(name, address string) net.Listener {
	at := slices.IndexFunc(s.left, func(k socket) bool { return k.name == name })
	if at < 0 {
		at = slices.IndexFunc(s.left, func(k socket) bool { return isAt(k.listener.Addr(), address) })
	}
	if at < 0 {
		return nil
	}
	listener := s.left[at].listener
	s.left = slices.Delete(s.left, at, at+1)
	return listener
}

// isAt reports whether a socket is bound to an address.
func isAt(bound net.Addr, address string) bool {
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		return bound.Network() == "unix" && bound.String() == path
	}
	tcp, isTCP := bound.(*net.TCPAddr)
	host, port, err := net.SplitHostPort(address)
	if !isTCP || err != nil || port != strconv.Itoa(tcp.Port) {
		return false
	}
	if host == "" {
		return tcp.IP.IsUnspecified()
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	// "ListenStream=443" binds [::], which accepts IPv4 too.
	return addr.IsUnspecified() && tcp.IP.IsUnspecified() || addr.Unmap() == tcp.AddrPort().Addr().Unmap()
}

// Rest closes the sockets that were not taken and returns their names. Clients of an open one would wait forever.
func (s *Sockets) Rest() (names []string) {
	for _, k := range s.left {
		names = append(names, fmt.Sprintf("%s (%s)", k.name, k.listener.Addr()))
		_ = k.listener.Close()
	}
	s.left = nil
	return names
}
