package probe

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"sluice/proxy/h2"
)

// A stream is a request over HTTP/2, the only one of its connection. It blocks, as the connection does.
type stream struct {
	conn  net.Conn
	from  io.Reader // of conn
	start time.Time
	h2    h2.Conn
	of    *h2.Stream

	status int    // of the final answer; 0: it hasn't come
	in     []byte // DATA that wasn't read yet
	isOver bool   // the backend has ended the stream
}

var streamConfig = h2.Config{Role: h2.Client, Streams: 1}

// errNoConnect means that a backend speaks HTTP/2 without RFC 8441.
var errNoConnect = errors.New("no WebSocket over HTTP/2 (SETTINGS_ENABLE_CONNECT_PROTOCOL)")

// openStream sends a request for the path of a host.
func openStream(conn net.Conn, from io.Reader, scheme, host, path string, isWebSocket bool) (*stream, error) {
	s := &stream{conn: conn, from: from, start: time.Now()}
	if err := s.send(s.h2.Begin(&streamConfig, nil)); err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
	}
	for !s.h2.IsReady() {
		if err := s.receive(); err != nil {
			return nil, fmt.Errorf("wait for the settings of HTTP/2: %w", err)
		}
	}
	fields := []h2.Field{{Name: ":method", Value: "GET"}}
	if isWebSocket {
		if !s.h2.CanConnect() {
			return nil, errNoConnect
		}
		fields = []h2.Field{{Name: ":method", Value: "CONNECT"}, {Name: ":protocol", Value: "websocket"}}
	}
	fields = append(fields, h2.Field{Name: ":scheme", Value: scheme}, h2.Field{Name: ":authority", Value: host}, h2.Field{Name: ":path", Value: path},
		h2.Field{Name: "user-agent", Value: "sluice-probe"})
	if isWebSocket {
		fields = append(fields, h2.Field{Name: "sec-websocket-version", Value: "13"})
	}
	var frames []byte
	if s.of, frames = s.h2.Open(nil, fields, !isWebSocket); s.of == nil {
		return nil, errors.New("the backend allows no stream")
	}
	if err := s.send(frames); err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
	}
	return s, nil
}

// answer waits for the final answer and returns its status.
func (s *stream) answer() (status int, err error) {
	for s.status == 0 {
		if s.isOver {
			err = io.ErrUnexpectedEOF
		} else {
			err = s.receive()
		}
		if err != nil {
			return 0, fmt.Errorf("read the answer: %w", err)
		}
	}
	return s.status, nil
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	for len(s.in) == 0 {
		if s.isOver {
			return 0, io.EOF
		}
		if err := s.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

// Write implements io.Writer.
func (s *stream) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n := min(s.h2.Sendable(s.of), len(p))
		switch {
		case n > 0:
			err = s.send(append(s.h2.AppendData(nil, s.of, n, false), p[:n]...))
			p, written = p[n:], written+n
		case s.h2.CanSend(s.of):
			err = s.receive()
		default:
			err = net.ErrClosed
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// end tells the backend that the connection has served its purpose.
func (s *stream) end() {
	frames := []byte(nil)
	if s.h2.CanSend(s.of) {
		frames = s.h2.AppendData(nil, s.of, 0, true)
	}
	_ = s.send(s.h2.AppendGoAway(frames, h2.NoError, ""))
}

// receive reads and handles what comes next.
func (s *stream) receive() error {
	var buf [4 << 10]byte
	n, err := s.from.Read(buf[:])
	if n == 0 {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	for p := buf[:n]; ; {
		e, n, frames, fault := s.h2.Receive(p, time.Since(s.start), nil)
		if err := s.send(frames); err != nil {
			return err
		}
		if fault != nil {
			return fault
		}
		if p = p[n:]; e.Kind == h2.None {
			return nil
		}
		if err := s.happened(&e); err != nil {
			return err
		}
	}
}

func (s *stream) happened(e *h2.Event) error {
	s.isOver = s.isOver || e.IsEnd
	switch e.Kind {
	case h2.Headers:
		if !e.Head.IsTrailer && e.Head.Status >= 200 {
			s.status = e.Head.Status
		}
	case h2.Data:
		s.in = append(s.in, e.Data...)
		return s.send(s.h2.AppendTaken(nil, s.of, len(e.Data)))
	case h2.Reset:
		return fmt.Errorf("the stream was reset (%v)", e.Code)
	}
	return nil
}

func (s *stream) send(frames []byte) error {
	if len(frames) == 0 {
		return nil
	}
	_, err := s.conn.Write(frames)
	return err
}
