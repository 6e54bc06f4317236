//go:build !linux

package netconn

import "net"

// AwaitHangup returns an error: only Linux reports a hangup before all input is read.
func AwaitHangup(net.Conn) error { return errNoSocket }

// IsHungUp returns false: only Linux reports a hangup before all input is read.
func IsHungUp(net.Conn) bool { return false }
