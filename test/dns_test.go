//go:build unix

package test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A nameserver is a DNS server on loopback that knows one name, whose addresses a test changes.
type nameserver struct {
	conn net.PacketConn
	done chan struct{}

	mu        sync.Mutex
	addresses []netip.Addr
	port      uint16 // of the SRV records
	isFailing bool
	asked     int
}

func startNameserver(t *testing.T) *nameserver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameserver{conn: conn, done: make(chan struct{})}
	go n.serve()
	t.Cleanup(func() { _ = conn.Close(); <-n.done })
	return n
}

func (n *nameserver) serve() {
	defer close(n.done)
	buffer := make([]byte, 4096)
	for {
		size, from, err := n.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var m dnsmessage.Message
		if err != nil || m.Unpack(buffer[:size]) != nil || len(m.Questions) != 1 {
			continue
		}
		n.answer(&m)
		if answer, err := m.Pack(); err == nil {
			_, _ = n.conn.WriteTo(answer, from)
		}
	}
}

// answer makes the answer of a question: the SRV records of a name are at its addresses' own names.
func (n *nameserver) answer(m *dnsmessage.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	m.Header.Response, m.Additionals = true, nil
	if n.isFailing {
		m.Header.RCode = dnsmessage.RCodeServerFailure
		return
	}
	q := m.Questions[0]
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
	host, _, _ := strings.Cut(q.Name.String(), ".")
	for i, a := range n.addresses {
		own := fmt.Sprintf("host%d", i)
		switch {
		case q.Type == dnsmessage.TypeA && (host == "echo" || host == own):
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeSRV && host == "_ws":
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.SRVResource{
				Priority: 1, Weight: 1, Port: n.port, Target: dnsmessage.MustNewName(own + ".test."),
			}})
		}
	}
}

// set makes the addresses those of the name.
func (n *nameserver) set(addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses = nil
	for _, a := range addresses {
		n.addresses = append(n.addresses, netip.MustParseAddr(a))
	}
}

func (n *nameserver) fail(isFailing bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.isFailing = isFailing
}

func (n *nameserver) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// resolving are keys of a pool whose names are looked up here ten times a second.
func (n *nameserver) resolving(kind string) string {
	return fmt.Sprintf("[pool.discovery]\ndns = %q\nserver = %q\ninterval = \"100ms\"\ntimeout = \"1s\"", kind, n.conn.LocalAddr())
}

// untilBackends waits until the pool's available backends are those.
func (g *gateway) untilBackends(t *testing.T, addresses ...string) {
	t.Helper()
	eventually(t, patience, fmt.Sprintf("backends %q", addresses), func() bool {
		available := 0
		views := g.backends(t)
		for _, v := range views {
			if v.Available {
				available++
			}
		}
		for _, a := range addresses {
			if !views[a].Available {
				return false
			}
		}
		return available == len(addresses)
	})
}

// startStubs starts stubs at one port of several addresses of loopback, and returns the port.
func startStubs(t *testing.T, ips ...string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(startStub(t, ips[0]+":0").address)
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range ips[1:] {
		startStub(t, net.JoinHostPort(ip, port))
	}
	return port
}

func TestBackendsFollowDNSAndStayWhenItFails(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"a", "srv"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			base := map[string]string{"a": "127.0.11.", "srv": "127.0.12."}[kind]
			port := startStubs(t, base+"1", base+"2", base+"3")
			one, two, three := base+"1:"+port, base+"2:"+port, base+"3:"+port
			n := startNameserver(t)
			name := "echo.test:" + port
			if kind == "srv" {
				name = "_ws._tcp.test"
				_, _ = fmt.Sscan(port, &n.port)
			}
			n.set(base+"1", base+"2")
			g := runGateway(t, poolOf("policy = \"round_robin\"\n"+n.resolving(kind), name))
			g.untilBackends(t, one, two)
			old := []*guest{g.invite(t, nil, "/"), g.invite(t, nil, "/")}

			n.set(base+"2", base+"3") // it changes
			g.untilBackends(t, two, three)
			for range 6 {
				if got := g.invite(t, nil, "/").backend; got != two && got != three {
					t.Fatalf("a session on %s, which the name doesn't have any more", got)
				}
			}

			n.fail(true) // it fails
			asked := n.count()
			eventually(t, patience, "questions that fail", func() bool { return n.count() > asked+4 })
			g.untilBackends(t, two, three)
			g.invite(t, nil, "/")

			n.fail(false) // it comes back
			n.set(base+"1", base+"3")
			g.untilBackends(t, one, three)
			for range 6 {
				if got := g.invite(t, nil, "/").backend; got != one && got != three {
					t.Fatalf("a session on %s, which the name doesn't have any more", got)
				}
			}
			for _, guest := range old {
				if guest.hasEnded() {
					t.Errorf("a session of %s ended with %d when the name changed", guest.backend, guest.code)
				}
			}
		})
	}
}
