package netconn

import (
	"errors"
	"syscall"
)

// A Resource is what a process or its system needs for each connection.
type Resource string

const (
	Descriptors Resource = "descriptors" // of the process, or of the system
	Ports       Resource = "ports"       // local ones for connections to one address
	Memory      Resource = "memory"      // of the kernel, for sockets
)

var exhausted = []struct {
	errno syscall.Errno
	what  Resource
}{
	{syscall.EMFILE, Descriptors},
	{syscall.ENFILE, Descriptors},
	{syscall.EADDRNOTAVAIL, Ports},
	{syscall.ENOBUFS, Memory},
	{syscall.ENOMEM, Memory},
}

// Exhausted returns the resource for want of which a connection failed, or "". Such a failure says nothing about the peer.
func Exhausted(err error) Resource {
	for _, e := range exhausted {
		if errors.Is(err, e.errno) {
			return e.what
		}
	}
	return ""
}
