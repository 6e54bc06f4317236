package driver

import (
	"net"
	"time"
)

// A Switch is the connection below a crypto/tls one that a driver is to relay. During the handshake it passes everything on, and blocks
// as its connection does: crypto/tls treats any error of its handshake as final. When a loop owns the socket, a Switch reads and writes
// memory of the loop, and never blocks. The owner of the connection above owns it.
type Switch struct {
	conn  net.Conn // nil: a loop owns the socket
	early []byte   // was read from conn before; comes first
	feed  *feed    // of the loop; nil: conn is in use
}

// A feed holds what the crypto/tls connections of one side are to read, and what they have written. Owned by the loop goroutine.
type feed struct {
	in  []byte
	out []byte
}

// errNothing means that nothing is there now. crypto/tls can go on after an error that is a temporary net.Error.
var errNothing net.Error = again{}

type again struct{}

func (again) Error() string   { return "nothing is there yet" }
func (again) Timeout() bool   { return false }
func (again) Temporary() bool { return true }

// NewSwitch returns a switch that owns conn; early is what was read from conn already.
func NewSwitch(conn net.Conn, early []byte) *Switch { return &Switch{conn: conn, early: early} }

// switchBelow returns the switch among a connection's layers, or nil.
func switchBelow(conn net.Conn) *Switch {
	for {
		if s, isSwitch := conn.(*Switch); isSwitch {
			return s
		}
		layer, isLayer := conn.(interface{ NetConn() net.Conn })
		if !isLayer {
			return nil
		}
		conn = layer.NetConn()
	}
}

// NetConn returns the connection below.
func (s *Switch) NetConn() net.Conn { return s.conn }

// Read implements net.Conn.
func (s *Switch) Read(p []byte) (int, error) {
	switch {
	case len(s.early) > 0:
		n := copy(p, s.early)
		if s.early = s.early[n:]; len(s.early) == 0 {
			s.early = nil
		}
		return n, nil
	case s.feed == nil:
		return s.conn.Read(p)
	case len(s.feed.in) == 0:
		return 0, errNothing
	}
	n := copy(p, s.feed.in)
	s.feed.in = s.feed.in[n:]
	return n, nil
}

// Write implements net.Conn. In a loop it accepts everything: crypto/tls treats a short write as final.
func (s *Switch) Write(p []byte) (int, error) {
	if s.feed == nil {
		return s.conn.Write(p)
	}
	s.feed.out = append(s.feed.out, p...)
	return len(p), nil
}

// Close implements net.Conn. Only the loop closes a socket that it owns.
func (s *Switch) Close() error {
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}

// LocalAddr implements net.Conn; in a loop it is empty.
func (s *Switch) LocalAddr() net.Addr {
	if s.conn == nil {
		return &net.TCPAddr{}
	}
	return s.conn.LocalAddr()
}

// RemoteAddr implements net.Conn; in a loop it is empty.
func (s *Switch) RemoteAddr() net.Addr {
	if s.conn == nil {
		return &net.TCPAddr{}
	}
	return s.conn.RemoteAddr()
}

// SetDeadline implements net.Conn. In a loop it does nothing, as nothing blocks.
func (s *Switch) SetDeadline(t time.Time) error {
	if s.conn == nil {
		return nil
	}
	return s.conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *Switch) SetReadDeadline(t time.Time) error {
	if s.conn == nil {
		return nil
	}
	return s.conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (s *Switch) SetWriteDeadline(t time.Time) error {
	if s.conn == nil {
		return nil
	}
	return s.conn.SetWriteDeadline(t)
}
