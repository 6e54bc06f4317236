package balancer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sluice/internal/units"
)

// A zone is a DNS server on loopback whose answers a test changes.
type zone struct {
	conn net.PacketConn
	done chan struct{}

	mu       sync.Mutex
	ips      map[string][]netip.Addr
	records  map[string][]dnsmessage.SRVResource
	isFailed bool // answers SERVFAIL
	queries  int
}

func newZone(t *testing.T) *zone {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{
		conn: conn, done: make(chan struct{}),
		ips: make(map[string][]netip.Addr), records: make(map[string][]dnsmessage.SRVResource),
	}
	go z.serve()
	t.Cleanup(func() { _ = conn.Close(); <-z.done })
	return z
}

func (z *zone) serve() {
	defer close(z.done)
	buffer := make([]byte, 4096)
	for {
		n, from, err := z.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var m dnsmessage.Message
		if err != nil || m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		z.answer(&m)
		if answer, err := m.Pack(); err == nil {
			_, _ = z.conn.WriteTo(answer, from)
		}
	}
}

// answer makes the answer of a question.
func (z *zone) answer(m *dnsmessage.Message) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.queries++
	q := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	m.Header.Response, m.Header.Authoritative, m.Additionals = true, true, nil
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
	ips, hasIPs := z.ips[name]
	records, hasRecords := z.records[name]
	switch {
	case z.isFailed:
		m.Header.RCode = dnsmessage.RCodeServerFailure
		return
	case !hasIPs && !hasRecords:
		m.Header.RCode = dnsmessage.RCodeNameError
		return
	}
	for _, ip := range ips {
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
}

// set makes ips the addresses of name.
func (z *zone) set(name string, ips ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.ips[name] = nil
	for _, ip := range ips {
		z.ips[name] = append(z.ips[name], netip.MustParseAddr(ip))
	}
}

// setRecords makes records the SRV records of name.
func (z *zone) setRecords(name string, records ...dnsmessage.SRVResource) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[name] = records
}

func (z *zone) setFailed(isFailed bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.isFailed = isFailed
}

func (z *zone) count() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.queries
}

// config resolves the addresses every 20 ms at this server.
func (z *zone) config(dns string, addresses ...string) Config {
	c := configOf(PolicyRoundRobin, 0)
	for _, a := range addresses {
		c.Backend = append(c.Backend, BackendConfig{Address: a, Weight: 3})
	}
	c.Discovery = DiscoveryConfig{
		DNS: dns, Server: z.conn.LocalAddr().String(),
		Interval: units.Duration(20 * time.Millisecond), Timeout: units.Duration(time.Second),
	}
	return c
}

// until waits for a condition, 10 s at most.
func until(t *testing.T, what string, isTrue func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !isTrue(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10s: %s", what)
		}
	}
}

// untilMembers waits until the available members are these.
func untilMembers(t *testing.T, p *Pool, want ...string) {
	t.Helper()
	until(t, fmt.Sprintf("members %q", want), func() bool {
		var got []string
		for _, s := range p.Status() {
			if s.State.IsAvailable() {
				got = append(got, s.Name)
			}
		}
		return slices.Equal(got, want)
	})
}

func TestEachAddressOfANameIsAMember(t *testing.T) {
	z := newZone(t)
	z.set("echo.test", "127.0.0.2", "127.0.0.1", "::1")
	p := newPool(t, z.config(DiscoverA, "echo.test:9000", "127.0.0.9:9000"))
	if got := p.Status(); len(got) != 1 || got[0].Name != "127.0.0.9:9000" {
		t.Fatalf("members before the first answer = %+v; want the address that is none of DNS", got)
	}
	run(t, p, Owner{})
	untilMembers(t, p, "127.0.0.1:9000", "127.0.0.2:9000", "[::1]:9000", "127.0.0.9:9000")
	if w := p.Status()[0].Weight; w != 3 {
		t.Errorf("weight of an address = %d; want its name's 3", w)
	}
}

func TestMembersFollowDNS(t *testing.T) {
	z := newZone(t)
	z.set("echo.test", "127.0.0.1", "127.0.0.2")
	p, logs := newLoggedPool(t, z.config(DiscoverA, "echo.test:9000"))
	run(t, p, Owner{})
	untilMembers(t, p, "127.0.0.1:9000", "127.0.0.2:9000")
	wantLogged(t, logs)
	second := pick(t, p, requestOf(0))
	for second.Name() != "127.0.0.2:9000" {
		second = pick(t, p, requestOf(0))
	}

	z.set("echo.test", "127.0.0.1", "127.0.0.3")
	untilMembers(t, p, "127.0.0.1:9000", "127.0.0.3:9000")
	wantState(t, second, Gone)
	logs.TakeAll()

	// It fails: the last members stay, and one line tells it.
	z.setFailed(true)
	until(t, "a line of the failure", func() bool { return logs.Len() > 0 })
	failed := z.count()
	until(t, "further questions", func() bool { return z.count() > failed+4 })
	wantLogged(t, logs, "name not resolved, last members kept")
	untilMembers(t, p, "127.0.0.1:9000", "127.0.0.3:9000")

	// It comes back without a record, which is no reason to drop what there is, and then with one.
	z.setFailed(false)
	z.set("echo.test")
	asked := z.count()
	until(t, "a further question", func() bool { return z.count() > asked+4 })
	untilMembers(t, p, "127.0.0.1:9000", "127.0.0.3:9000")
	z.set("echo.test", "127.0.0.2")
	untilMembers(t, p, "127.0.0.2:9000")
	if p.members[0] != second || second.Sessions() == 0 {
		t.Error("the address that came back is another backend, without its session")
	}
}

func TestSRVRecordsHaveWeightsAndBackups(t *testing.T) {
	z := newZone(t)
	z.set("a.test", "127.0.0.1")
	z.set("b.test", "127.0.0.2")
	z.set("c.test", "127.0.0.3")
	target := dnsmessage.MustNewName
	z.setRecords("_ws._tcp.test",
		dnsmessage.SRVResource{Priority: 20, Weight: 7, Port: 9003, Target: target("c.test.")},
		dnsmessage.SRVResource{Priority: 10, Weight: 0, Port: 9001, Target: target("a.test.")},
		dnsmessage.SRVResource{Priority: 10, Weight: 5, Port: 9002, Target: target("b.test.")},
		dnsmessage.SRVResource{Priority: 10, Weight: 5, Port: 9002, Target: target("missing.test.")},
	)
	p := newPool(t, z.config(DiscoverSRV, "wss://_ws._tcp.test"))
	run(t, p, Owner{})
	untilMembers(t, p, "wss://127.0.0.1:9001", "wss://127.0.0.2:9002", "wss://127.0.0.3:9003")
	statuses := p.Status()
	for i, want := range []struct {
		weight int
		backup bool
		server string
	}{{1, false, "a.test"}, {5, false, "b.test"}, {7, true, "c.test"}} {
		server, _ := p.members[i].TLS()
		if s := statuses[i]; s.Weight != want.weight || s.Backup != want.backup || server != want.server {
			t.Errorf("member %d is %+v of %q; want %+v", i, s, server, want)
		}
	}
}

func TestFailedDialBringsTheNextResolutionForward(t *testing.T) {
	z := newZone(t)
	z.set("echo.test", "127.0.0.1")
	c := z.config(DiscoverA, "echo.test:9000")
	c.Discovery.Interval = units.Duration(time.Hour)
	p := newPool(t, c)
	run(t, p, Owner{})
	untilMembers(t, p, "127.0.0.1:9000")
	z.set("echo.test", "127.0.0.2")
	asked := z.count()
	start := time.Now()
	for range 1000 {
		fail(p, p.known["tcp!127.0.0.1:9000"], Refused, 1)
	}
	untilMembers(t, p, "127.0.0.2:9000")
	if n := z.count() - asked; n > 4 {
		t.Errorf("%d questions in %v after 1,000 failed dials; want those of one resolution", n, time.Since(start))
	}
}

func TestSetForgetsNamesThatAreNotListed(t *testing.T) {
	z := newZone(t)
	z.set("echo.test", "127.0.0.1")
	z.set("other.test", "127.0.0.2")
	p := newPool(t, z.config(DiscoverA, "echo.test:9000"))
	run(t, p, Owner{})
	untilMembers(t, p, "127.0.0.1:9000")
	reset(t, p, z.config(DiscoverA, "other.test:9000"))
	untilMembers(t, p, "127.0.0.2:9000")
	until(t, "the old name is forgotten", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.resolved) == 1
	})
}
