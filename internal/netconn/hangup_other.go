//go:build !linux

package netconn

import "net"

// AwaitHangup returns an error: only Linux reports a hangup before all input is read.
func AwaitHangup(net.Conn) error { return errNoSocket }

// IsBroken returns false: only Linux reports it before all input is read.
func IsBroken(net.Conn, bool) bool { return false }
