package h2test

import (
	"crypto/tls"
	"net"
	"slices"
	"sync"

	"golang.org/x/net/http2"
)

// A Server accepts connections and has a handler for each of their streams.
type Server struct {
	listener net.Listener
	secure   *tls.Config
	options  Options
	handle   func(*Stream)

	mu       sync.Mutex
	conns    []*Conn
	accepted int
	opened   int
	isClosed bool
	running  sync.WaitGroup
}

// Listen makes a Server at a port of its own of 127.0.0.1, with TLS unless secure is nil. Each stream's handler has a goroutine; after
// it the stream is closed.
func Listen(secure *tls.Config, o Options, handle func(*Stream)) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return Serve(listener, secure, o, handle), nil
}

// Serve makes a Server of a listener.
func Serve(listener net.Listener, secure *tls.Config, o Options, handle func(*Stream)) *Server {
	s := &Server{listener: listener, options: o, handle: handle}
	if secure != nil {
		s.secure = secure.Clone()
		if s.secure.NextProtos == nil {
			s.secure.NextProtos = []string{http2.NextProtoTLS}
		}
	}
	s.running.Go(s.accept)
	return s
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		if s.secure != nil {
			conn = tls.Server(conn, s.secure)
		}
		s.mu.Lock()
		if s.isClosed {
			s.mu.Unlock()
			_ = conn.Close()
			return
		}
		s.accepted++
		c := ServeConn(conn, s.options, s.handle)
		s.conns = append(s.conns, c)
		s.running.Go(func() {
			<-c.Done()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.conns = slices.DeleteFunc(s.conns, func(other *Conn) bool { return other == c })
			s.opened += c.Opened()
		})
		s.mu.Unlock()
	}
}

// Addr returns the address that the Server listens at.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Conns returns the live connections.
func (s *Server) Conns() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.conns)
}

// Accepted returns how many connections there have been.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Opened returns how many streams there have been.
func (s *Server) Opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.opened
	for _, c := range s.conns {
		n += c.Opened()
	}
	return n
}

// Close closes the listener and all connections, and waits for the handlers.
func (s *Server) Close() {
	s.mu.Lock()
	s.isClosed = true
	conns := slices.Clone(s.conns)
	s.mu.Unlock()
	_ = s.listener.Close()
	for _, c := range conns {
		_ = c.Close()
	}
	s.running.Wait()
}
