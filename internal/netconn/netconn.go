// Package netconn has what the parts of the gateway do with a net.Conn besides reading and writing: how it ends, and what lies below it.
package netconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// Socket returns what is below all the layers of a connection.
func Socket(conn net.Conn) net.Conn {
	for {
		layer, isLayer := conn.(interface{ NetConn() net.Conn })
		if !isLayer {
			return conn
		}
		conn = layer.NetConn()
	}
}

// IsTimeout reports whether an error is that of a deadline that has passed.
func IsTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// How long, and for how many bytes, LingerClose waits for the peer's end.
const (
	LingerTime  = time.Second
	lingerBytes = 256 << 10
)

// LingerClose ends a connection so that the peer gets what was just sent: a close while input waits would be a reset. It reads and
// discards what still comes, and blocks for LingerTime at most.
func LingerClose(conn net.Conn) {
	socket := Socket(conn)
	if c, ok := conn.(*tls.Conn); ok {
		_ = c.CloseWrite() // close_notify; what still comes is thrown away unparsed
	}
	if c, ok := socket.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		_ = socket.SetReadDeadline(time.Now().Add(LingerTime))
		_, _ = io.CopyN(io.Discard, socket, lingerBytes)
	}
	_ = socket.Close()
}

// Cut ends a connection by a reset, without close_notify.
func Cut(conn net.Conn) {
	socket := Socket(conn)
	if c, ok := socket.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = socket.Close()
}

// KeepAlive lets TCP notice that a peer has gone, for streams that may be silent for hours and carry no pings.
func KeepAlive(conn net.Conn) {
	if c, ok := conn.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true})
	}
}
