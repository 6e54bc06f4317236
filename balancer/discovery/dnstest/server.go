// Package dnstest is a DNS server for tests, in the process of the test, whose answers the test
// changes. No part of the program imports it.
package dnstest

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A Mode is how a Server answers.
type Mode int

const (
	Answering Mode = iota
	Failing        // SERVFAIL to every question
	Silent         // no answer at all
)

// A Server is a DNS server on a loopback address. All methods are safe for concurrent use.
type Server struct {
	conn net.PacketConn
	done chan struct{}

	mu        sync.Mutex
	addresses map[string][]netip.Addr
	records   map[string][]dnsmessage.SRVResource
	mode      Mode
	questions int
}

// New starts a server that knows no name. It stops at the end of the test.
func New(t testing.TB) *Server {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		conn: conn, done: make(chan struct{}),
		addresses: make(map[string][]netip.Addr), records: make(map[string][]dnsmessage.SRVResource),
	}
	go s.serve()
	t.Cleanup(func() { _ = conn.Close(); <-s.done })
	return s
}

// Addr returns the server's "address:port".
func (s *Server) Addr() string { return s.conn.LocalAddr().String() }

// Set makes ips the addresses of a name, which from then on exists, with none if there are none.
func (s *Server) Set(name string, ips ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses[name] = nil
	for _, ip := range ips {
		s.addresses[name] = append(s.addresses[name], netip.MustParseAddr(ip))
	}
}

// SetRecords makes records the SRV records of a name.
func (s *Server) SetRecords(name string, records ...dnsmessage.SRVResource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[name] = records
}

// SetMode changes how the server answers.
func (s *Server) SetMode(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
}

// Questions returns how many questions have come.
func (s *Server) Questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.questions
}

func (s *Server) serve() {
	defer close(s.done)
	buffer := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var m dnsmessage.Message
		if err != nil || m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 || !s.answer(&m) {
			continue
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = s.conn.WriteTo(answer, from)
		}
	}
}

// answer turns a question into its answer, and reports whether there is to be one.
func (s *Server) answer(m *dnsmessage.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.questions++
	q := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	m.Header.Response, m.Header.Authoritative, m.Additionals = true, true, nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
	addresses, hasAddresses := s.addresses[name]
	records, hasRecords := s.records[name]
	switch {
	case s.mode == Silent:
		return false
	case s.mode == Failing:
		m.Header.RCode = dnsmessage.RCodeServerFailure
		return true
	case !hasAddresses && !hasRecords:
		m.Header.RCode = dnsmessage.RCodeNameError
		return true
	}
	for _, ip := range addresses {
		switch {
		case q.Type == dnsmessage.TypeA && ip.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}})
		case q.Type == dnsmessage.TypeAAAA && ip.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	for i := range records {
		if q.Type == dnsmessage.TypeSRV {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &records[i]})
		}
	}
	return true
}
