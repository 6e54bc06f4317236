package h2test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// A ResetError is what a stream ends with that was reset, by either side.
type ResetError struct{ Code http2.ErrCode }

func (e *ResetError) Error() string { return fmt.Sprint("the stream was reset: ", e.Code) }

// A Stream is a stream as a connection of package net. Its end of stream is END_STREAM.
type Stream struct {
	// Fields is the request.
	Fields []Field

	c       *Conn
	id      uint32
	changed sync.Cond // of the Conn's lock

	in         bytes.Buffer
	taken      uint32 // bytes that were read and aren't given back to the window
	interim    []*Response
	response   *Response
	trailers   []Field
	window     int64 // that the peer gives
	isEnded    bool  // END_STREAM has come
	isEndSent  bool
	isClosed   bool
	err        error
	readUntil  time.Time
	writeUntil time.Time
	alarms     [2]*time.Timer
}

// ID returns the stream's identifier.
func (s *Stream) ID() uint32 { return s.id }

// Conn returns the stream's connection.
func (s *Stream) Conn() *Conn { return s.c }

// Field returns the value of a field of the request.
func (s *Stream) Field(name string) string { return fieldOf(s.Fields, name) }

// IsWebSocket reports whether the request is one for a WebSocket.
func (s *Stream) IsWebSocket() bool {
	return s.Field(":method") == "CONNECT" && s.Field(":protocol") == "websocket"
}

// end ends the stream. The Conn is locked, here and in what follows below it.
func (s *Stream) end(err error) {
	if s.err == nil {
		s.err = err
	}
	s.leave()
}

func (s *Stream) endReceived() {
	s.isEnded = true
	if s.isEndSent {
		s.leave()
	}
}

func (s *Stream) leave() {
	delete(s.c.streams, s.id)
	s.changed.Broadcast()
	s.c.changed.Broadcast()
}

func (s *Stream) isGone() bool { return s.c.streams[s.id] != s }

func (s *Stream) reset(code http2.ErrCode) {
	if !s.isGone() {
		_ = s.c.framer.WriteRSTStream(s.id, code)
	}
	s.end(&ResetError{code})
}

// give gives n bytes back to the window, together with others.
func (s *Stream) give(n uint32) {
	s.taken += n
	if s.isEnded || s.isGone() || s.taken < max(s.c.options.Window/2, 1) {
		return
	}
	_ = s.c.framer.WriteWindowUpdate(s.id, s.taken)
	s.taken = 0
}

// why returns what ended the stream, if something did other than END_STREAM.
func (s *Stream) why(until time.Time) error {
	switch {
	case s.err != nil:
		return s.err
	case s.isClosed:
		return net.ErrClosed
	case s.c.err != nil && !s.isGone():
		return fmt.Errorf("the connection ended: %w", s.c.err)
	case !until.IsZero() && !time.Now().Before(until):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Read reads DATA, and gives its bytes back to the peer's window.
func (s *Stream) Read(p []byte) (int, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for {
		if s.in.Len() > 0 && !s.isClosed {
			n, _ := s.in.Read(p)
			s.give(uint32(n))
			return n, nil
		}
		if s.isEnded && !s.isClosed {
			return 0, io.EOF
		}
		if err := s.why(s.readUntil); err != nil {
			return 0, err
		}
		s.changed.Wait()
	}
}

// Write sends DATA, as the windows allow it.
func (s *Stream) Write(p []byte) (written int, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	pad := int64(c.options.Pad)
	over := pad
	if pad > 0 {
		over++ // the field that says its length
	}
	for len(p) > 0 {
		if err := s.why(s.writeUntil); err != nil {
			return written, err
		}
		if s.isEndSent {
			return written, io.ErrClosedPipe
		}
		n := min(int64(len(p)), s.window-over, c.window-over, int64(c.maxFrame)-over)
		if n <= 0 || c.out.Len() > fullQueue {
			s.changed.Wait()
			continue
		}
		if pad > 0 {
			err = c.framer.WriteDataPadded(s.id, false, p[:n], make([]byte, pad))
		} else {
			err = c.framer.WriteData(s.id, false, p[:n])
		}
		if err != nil {
			return written, err
		}
		s.window -= n + over
		c.window -= n + over
		written += int(n)
		p = p[n:]
	}
	return written, nil
}

// Response waits for the final head of the response.
func (s *Stream) Response() (*Response, error) {
	return s.responses(func(*Response) {})
}

// responses is Response, and calls passes with each interim one as it comes.
func (s *Stream) responses(passes func(*Response)) (*Response, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	passed := 0
	late := time.Now().Add(patience)
	alarm := s.wakeAt(late)
	defer alarm.Stop()
	for {
		if passed < len(s.interim) {
			next := s.interim[passed]
			passed++
			s.c.mu.Unlock()
			passes(next)
			s.c.mu.Lock()
			continue
		}
		if s.response != nil {
			return s.response, nil
		}
		if err := s.why(late); err != nil {
			return nil, err
		}
		if s.isEnded {
			return nil, io.ErrUnexpectedEOF
		}
		s.changed.Wait()
	}
}

// Trailers returns the trailers that have come.
func (s *Stream) Trailers() []Field {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.trailers
}

// Answer sends the final head of a response. The stream stays open for its body, or as a WebSocket.
func (s *Stream) Answer(status int, more ...Field) error { return s.sendHead(status, more, false) }

// Interim sends an interim response.
func (s *Stream) Interim(status int, more ...Field) error { return s.sendHead(status, more, false) }

// Refuse sends a response with a body and ends the stream.
func (s *Stream) Refuse(status int, body string, more ...Field) error {
	if err := s.sendHead(status, more, body == ""); err != nil || body == "" {
		return err
	}
	if _, err := io.WriteString(s, body); err != nil {
		return err
	}
	return s.CloseWrite()
}

func (s *Stream) sendHead(status int, more []Field, isEnd bool) error {
	return s.sendFields(append(Fields(":status", strconv.Itoa(status)), more...), isEnd)
}

// SendTrailers sends trailers, which end our direction.
func (s *Stream) SendTrailers(fields ...Field) error { return s.sendFields(fields, true) }

func (s *Stream) sendFields(fields []Field, isEnd bool) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.why(time.Time{}); err != nil {
		return err
	}
	if s.isEndSent {
		return io.ErrClosedPipe
	}
	err := s.c.writeHead(s.id, fields, isEnd)
	if isEnd {
		s.endSent()
	}
	return err
}

func (s *Stream) endSent() {
	s.isEndSent = true
	if s.isEnded {
		s.leave()
	}
}

// CloseWrite ends our direction.
func (s *Stream) CloseWrite() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.closeWrite()
}

func (s *Stream) closeWrite() error {
	if s.isEndSent || s.isGone() {
		return nil
	}
	err := s.c.framer.WriteData(s.id, true, nil)
	s.endSent()
	return err
}

// Reset resets the stream.
func (s *Stream) Reset(code http2.ErrCode) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.reset(code)
	return nil
}

// Close does what close(2) does to a TCP connection: it ends our direction, or resets the stream if bytes were not read. Bytes that come later
// reset it too.
func (s *Stream) Close() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.isClosed {
		return nil
	}
	s.isClosed = true
	if s.in.Len() > 0 && !s.isGone() {
		s.reset(http2.ErrCodeCancel)
		return nil
	}
	err := s.closeWrite()
	s.changed.Broadcast()
	return err
}

// LocalAddr returns the address of the connection's own end.
func (s *Stream) LocalAddr() net.Addr { return s.c.conn.LocalAddr() }

// RemoteAddr returns the address of the connection's peer.
func (s *Stream) RemoteAddr() net.Addr { return s.c.conn.RemoteAddr() }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline bounds Read.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.setDeadline(0, &s.readUntil, t) }

// SetWriteDeadline bounds Write.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.setDeadline(1, &s.writeUntil, t) }

func (s *Stream) setDeadline(i int, until *time.Time, t time.Time) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	*until = t
	if s.alarms[i] != nil {
		s.alarms[i].Stop()
		s.alarms[i] = nil
	}
	if !t.IsZero() {
		s.alarms[i] = s.wakeAt(t)
	}
	s.changed.Broadcast()
	return nil
}

// wakeAt has what waits for the stream look again at a time.
func (s *Stream) wakeAt(t time.Time) *time.Timer {
	return time.AfterFunc(time.Until(t), func() {
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		s.changed.Broadcast()
	})
}
