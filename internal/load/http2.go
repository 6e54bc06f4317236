package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"sluice/proxy/h2"
)

// muxes are the connections of HTTP/2 whose streams are sessions (RFC 8441).
type muxes struct {
	driver *streams
	config h2.Config

	mu   sync.Mutex
	open []*mux // those that may have room
}

func newMuxes(d *streams) *muxes {
	return &muxes{driver: d, config: h2.Config{Role: h2.Client, Streams: d.run.o.Streams}}
}

// connect opens a stream, on a new connection if no other has room.
func (m *muxes) connect(ctx context.Context) (*muxStream, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.open) > 0 {
		last := m.open[len(m.open)-1]
		if s := last.connect(m.driver.run.target); s != nil {
			return s, nil
		}
		m.open = m.open[:len(m.open)-1]
	}
	c, err := m.dial(ctx)
	if err != nil {
		return nil, err
	}
	s := c.connect(m.driver.run.target)
	if s == nil {
		_ = c.conn.Close()
		return nil, fmt.Errorf("connect to %s: the connection accepts no stream", m.driver.run.target.addr)
	}
	m.open = append(m.open, c)
	return s, nil
}

func (m *muxes) dial(ctx context.Context) (*mux, error) {
	conn, err := m.driver.dialSocket(ctx)
	if err != nil {
		return nil, err
	}
	if secured, isTLS := conn.(*tls.Conn); isTLS && secured.ConnectionState().NegotiatedProtocol != "h2" {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to %s: the server doesn't speak HTTP/2", m.driver.run.target.addr)
	}
	c := &mux{driver: m.driver, conn: conn}
	c.changed.L = &c.mu
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = c.h2.Begin(&m.config, nil)
	go c.read()
	go c.write()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	for !c.h2.IsReady() && c.err == nil {
		c.changed.Wait()
	}
	switch {
	case c.err != nil:
		return nil, fmt.Errorf("connect to %s: %w", m.driver.run.target.addr, c.err)
	case !c.h2.CanConnect():
		_ = conn.Close()
		return nil, fmt.Errorf("connect to %s: the server doesn't offer WebSocket over HTTP/2", m.driver.run.target.addr)
	}
	return c, nil
}

// mux is a connection of HTTP/2.
type mux struct {
	driver *streams
	conn   net.Conn

	mu      sync.Mutex
	changed sync.Cond // out, err, the peer's settings
	h2      h2.Conn
	streams []*muxStream // by their Owner
	out     []byte       // what the socket hasn't got yet
	err     error
}

// maxOut is how many bytes wait for the socket before a stream waits too.
const maxOut = 256 << 10

// read reads until the end.
func (c *mux) read() {
	buf := make([]byte, streamBuffer)
	for {
		n, err := c.conn.Read(buf)
		c.mu.Lock()
		if err == nil {
			err = c.receive(buf[:n])
		}
		if err != nil {
			c.end(err)
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *mux) receive(p []byte) error {
	defer c.changed.Broadcast()
	for {
		var e h2.Event
		var n int
		var err error
		e, n, c.out, err = c.h2.Receive(p, c.driver.run.now(), c.out)
		if err != nil {
			return err
		}
		p = p[n:]
		var s *muxStream
		if e.Stream != nil {
			s = c.streams[e.Stream.Owner]
		}
		switch e.Kind {
		case h2.None:
			return nil
		case h2.Headers:
			if s.status == 0 && e.Head.Status >= 200 {
				s.status = e.Head.Status
			}
			s.isEnded = s.isEnded || e.IsEnd
			s.changed.Broadcast()
		case h2.Data:
			s.in = append(s.in, e.Data...)
			s.isEnded = s.isEnded || e.IsEnd
			s.changed.Broadcast()
		case h2.Reset:
			s.err = fmt.Errorf("the stream is reset (%v)", e.Code)
			s.changed.Broadcast()
		case h2.Window, h2.Settings:
			for _, each := range c.streams {
				if s == nil || each == s {
					each.changed.Broadcast()
				}
			}
		}
	}
}

// write moves out to the socket.
func (c *mux) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var spare []byte
	for {
		for len(c.out) == 0 && c.err == nil {
			c.changed.Wait()
		}
		if c.err != nil {
			return
		}
		full := c.out
		c.out = spare[:0]
		c.mu.Unlock()
		_, err := c.conn.Write(full)
		c.mu.Lock()
		if spare = full; err != nil {
			c.end(err)
			return
		}
		if len(full) > maxOut/2 {
			c.wake()
		}
	}
}

func (c *mux) wake() {
	for _, s := range c.streams {
		s.changed.Broadcast()
	}
}

func (c *mux) end(err error) {
	if c.err == nil {
		c.err = err
	}
	_ = c.conn.Close()
	c.changed.Broadcast()
	c.wake()
}

// connect opens a stream with the request for a WebSocket, or returns nil.
func (c *mux) connect(t *target) *muxStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.h2.Room() == 0 || len(c.streams) >= c.driver.run.o.Streams {
		return nil
	}
	scheme := "http"
	if t.tls != nil {
		scheme = "https"
	}
	s := &muxStream{c: c}
	s.changed.L = &c.mu
	s.stream, c.out = c.h2.Open(c.out, []h2.Field{{Name: ":method", Value: "CONNECT"}, {Name: ":protocol", Value: "websocket"},
		{Name: ":scheme", Value: scheme}, {Name: ":authority", Value: t.host}, {Name: ":path", Value: t.request},
		{Name: "sec-websocket-version", Value: "13"}}, false)
	if s.stream == nil {
		return nil
	}
	s.stream.Owner = uint64(len(c.streams))
	c.streams = append(c.streams, s)
	c.changed.Broadcast()
	return s
}

// muxStream is a stream as a connection of package net.
type muxStream struct {
	c       *mux
	stream  *h2.Stream
	changed sync.Cond // of the connection's lock

	status   int // of the response
	in       []byte
	isEnded  bool
	isClosed bool
	err      error
	until    [2]time.Time // to read and to write
	alarms   [2]*time.Timer
}

// opened waits for the response and returns its status.
func (s *muxStream) opened() (status int, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for s.status == 0 {
		if s.isEnded {
			return 0, io.EOF
		}
		if err := s.why(0); err != nil {
			return 0, err
		}
		s.changed.Wait()
	}
	return s.status, nil
}

// why returns what ended the stream, or that its time is over.
func (s *muxStream) why(i int) error {
	switch {
	case s.err != nil:
		return s.err
	case s.c.err != nil:
		return s.c.err
	case s.isClosed:
		return net.ErrClosed
	case !s.until[i].IsZero() && !time.Now().Before(s.until[i]):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (s *muxStream) Read(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(s.in) == 0 {
		if s.isEnded {
			return 0, io.EOF
		}
		if err := s.why(0); err != nil {
			return 0, err
		}
		s.changed.Wait()
	}
	n := copy(p, s.in)
	if s.in = slices.Delete(s.in, 0, n); len(s.in) == 0 {
		s.in = nil
	}
	queued := len(c.out)
	if c.out = c.h2.AppendTaken(c.out, s.stream, n); len(c.out) > queued {
		c.changed.Broadcast()
	}
	return n, nil
}

func (s *muxStream) Write(p []byte) (written int, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		if err := s.why(1); err != nil {
			return written, err
		}
		n := min(len(p), c.h2.Sendable(s.stream))
		if n == 0 || len(c.out) > maxOut {
			s.changed.Wait()
			continue
		}
		c.out = append(c.h2.AppendData(c.out, s.stream, n, false), p[:n]...)
		c.changed.Broadcast()
		p = p[n:]
		written += n
	}
	return written, nil
}

// Close ends the stream in order if the server has ended it, and otherwise resets it. A connection ends with its last stream.
func (s *muxStream) Close() error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.isClosed {
		return nil
	}
	s.isClosed = true
	s.changed.Broadcast()
	if c.err != nil {
		return nil
	}
	switch {
	case s.isEnded && c.h2.CanSend(s.stream):
		c.out = c.h2.AppendData(c.out, s.stream, 0, true)
	case !s.isEnded:
		c.out = c.h2.AppendReset(c.out, s.stream, h2.Cancel)
	}
	c.changed.Broadcast()
	if c.h2.Count() == 0 && c.driver.run.current() >= stageStop {
		rest := slices.Clone(c.out)
		c.out = nil
		_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.conn.Write(rest)
		c.end(net.ErrClosed)
	}
	return nil
}

func (s *muxStream) LocalAddr() net.Addr  { return s.c.conn.LocalAddr() }
func (s *muxStream) RemoteAddr() net.Addr { return s.c.conn.RemoteAddr() }

func (s *muxStream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

func (s *muxStream) SetReadDeadline(t time.Time) error  { return s.setDeadline(0, t) }
func (s *muxStream) SetWriteDeadline(t time.Time) error { return s.setDeadline(1, t) }

func (s *muxStream) setDeadline(i int, t time.Time) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.alarms[i] != nil {
		s.alarms[i].Stop()
		s.alarms[i] = nil
	}
	if s.until[i] = t; !t.IsZero() {
		s.alarms[i] = time.AfterFunc(time.Until(t), func() {
			s.c.mu.Lock()
			defer s.c.mu.Unlock()
			s.changed.Broadcast()
		})
	}
	s.changed.Broadcast()
	return nil
}
