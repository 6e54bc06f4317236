// Package netconn has what the gateway does with a net.Conn besides reading and writing: closing it, and finding the socket below it.
package netconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// Socket returns the connection below all layers, such as TLS, of conn.
func Socket(conn net.Conn) net.Conn {
	for {
		layer, isLayer := conn.(interface{ NetConn() net.Conn })
		if !isLayer {
			return conn
		}
		conn = layer.NetConn()
	}
}

// errNoSocket is the error of AwaitHangup if the connection, or the system, can't report a hangup.
var errNoSocket = errors.New("hangups are not reported")

// IsTimeout reports whether an error means that a deadline has passed.
func IsTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// LingerClose waits for the peer's end of the stream for LingerTime or lingerBytes, whichever comes first.
const (
	LingerTime  = time.Second
	lingerBytes = 256 << 10
)

// LingerClose closes a connection so that the peer gets what was sent last: a close while input is unread would send a reset. It reads and
// discards input, and blocks for at most LingerTime.
func LingerClose(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		_ = c.CloseWrite() // close_notify; later input is discarded unparsed
	}
	linger(Socket(conn))
}

func linger(socket net.Conn) {
	if c, ok := socket.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		_ = socket.SetReadDeadline(time.Now().Add(LingerTime))
		_, _ = io.CopyN(io.Discard, socket, lingerBytes)
	}
	_ = socket.Close()
}

// BreakOff closes a connection whose last answer isn't complete, so that the peer gets what was sent of it, and sees that the rest is
// missing: by the answer's length or chunks, or where the end of the connection would be that of the answer, which is then open-ended, by
// a reset. There is no close_notify. It blocks for at most LingerTime.
func BreakOff(conn net.Conn, isOpenEnded bool) {
	if isOpenEnded {
		awaitAcknowledged(Socket(conn), time.Now().Add(LingerTime))
		Cut(conn)
		return
	}
	linger(Socket(conn))
}

// Cut closes a connection with a reset, and sends no close_notify.
func Cut(conn net.Conn) {
	socket := Socket(conn)
	if c, ok := socket.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = socket.Close()
}

// KeepAlive makes TCP notice when a peer has gone, for streams that may be silent for hours and have no pings.
func KeepAlive(conn net.Conn) {
	if c, ok := conn.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true})
	}
}
