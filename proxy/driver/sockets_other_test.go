//go:build !linux

package driver

import (
	"net"
	"syscall"
)

// shrink leaves a socket as it is.
func shrink(_, _ string, _ syscall.RawConn) error { return nil }

// arrived assumes what loopback does.
func arrived(net.Conn) bool { return true }
