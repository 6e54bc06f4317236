//go:build !linux

package netconn

import (
	"net"
	"time"
)

// awaitAcknowledged waits until then: only Linux reports what a peer has acknowledged.
func awaitAcknowledged(_ net.Conn, until time.Time) { time.Sleep(time.Until(until)) }
