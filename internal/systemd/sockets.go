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
)

// Sockets are the listening sockets that systemd has opened for the service and that no listener has taken yet. The zero value has none.
// Owned by one goroutine.
type Sockets struct{ left []socket }

type socket struct {
	name     string // FileDescriptorName= of the socket unit
	listener net.Listener
}

// firstFD is SD_LISTEN_FDS_START: the first descriptor that is handed over.
const firstFD = 3

// mostFDs is far above what a socket unit opens.
const mostFDs = 1024

// NewSockets takes over the sockets that the environment names, and removes them from the environment. The error names those that are
// no listening stream sockets; the others are returned nevertheless.
func NewSockets() (*Sockets, error) {
	isOurs := os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	count, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		_ = os.Unsetenv(name)
	}
	s := new(Sockets)
	if !isOurs || err != nil || count < 0 || count > mostFDs {
		return s, nil
	}
	var problems *multierror.Error
	for i := range count {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		closeOnExec(firstFD + i)
		if err := s.add(name, firstFD+i); err != nil {
			problems = multierror.Append(problems, err)
		}
	}
	return s, problems.ErrorOrNil()
}

// add takes a descriptor over.
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

// Take returns the socket for a listener, which then owns it: the one with the listener's name, or else the one that is bound at the
// listener's address ("host:port" or "unix:/path"), or nil.
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

// isAt reports whether a socket is bound at an address.
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
	// "ListenStream=443" binds [::], which takes IPv4 too.
	return addr.IsUnspecified() && tcp.IP.IsUnspecified() || addr.Unmap() == tcp.AddrPort().Addr().Unmap()
}

// Rest closes the sockets that no listener has taken, since clients would wait there without end, and returns their names.
func (s *Sockets) Rest() (names []string) {
	for _, k := range s.left {
		names = append(names, fmt.Sprintf("%s (%s)", k.name, k.listener.Addr()))
		_ = k.listener.Close()
	}
	s.left = nil
	return names
}
