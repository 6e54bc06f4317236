package driver

import (
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/proxy/relay"
	"sluice/tls/rekeytest"
)

// rekeyed begins an exchange over TLS 1.3 of both sides, whose peers change their keys as they like.
func rekeyed(t *testing.T, open func(testing.TB) Driver, isSmall bool) (x *exchange, conns [2]*rekeytest.Conn) {
	t.Helper()
	k := &kind{name: "rekeying", open: open, hasReset: true}
	side := relay.Client
	k.pair = func(t testing.TB, small bool) (peer, gateway net.Conn) {
		peer, lower := tcpPair(t, small)
		conn, ours := rekeyingPair(t, side, peer, lower)
		conns[side] = conn
		side = side.Other()
		return conn, ours
	}
	return begin(t, k, setup{isSmall: [2]bool{isSmall, isSmall}}), conns
}

// rekeyingPair does a handshake of TLS 1.3 between a peer that can change its keys and the gateway, on the side where the peer is.
func rekeyingPair(t testing.TB, side relay.Side, peer, gateway net.Conn) (*rekeytest.Conn, *tls.Conn) {
	t.Helper()
	server := &tls.Config{Certificates: []tls.Certificate{testCertificate}, MinVersion: tls.VersionTLS13}
	client := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	ours, end, config := tls.Server(NewSwitch(gateway, nil), server), rekeytest.Client, client
	if side == relay.Backend {
		ours, end, config = tls.Client(NewSwitch(gateway, nil), client), rekeytest.Server, server
	}
	done := make(chan error, 1)
	go func() { done <- ours.Handshake() }()
	conn, err := end(peer, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return conn, ours
}

// A rekeyingPeer is a peer that changes its keys before its first write and then once a second, and asks for new ones of the gateway.
type rekeyingPeer struct {
	*rekeytest.Conn
	socket net.Conn

	mu   sync.Mutex
	last time.Time // when it changed them; guarded by mu
}

// Write implements net.Conn.
func (p *rekeyingPeer) Write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.last) < time.Second { // more often is a fault
		return p.Conn.Write(b)
	}
	p.last = now
	first := b[:min(len(b), 16<<10)]
	records, err := p.AppendRekeyed(nil, 1, true, first)
	if err == nil {
		err = p.WriteRecords(records)
	}
	if err != nil {
		return 0, err
	}
	n, err = p.Conn.Write(b[len(first):])
	return len(first) + n, err
}

// SetLinger is the socket's.
func (p *rekeyingPeer) SetLinger(seconds int) error {
	return p.socket.(interface{ SetLinger(int) error }).SetLinger(seconds)
}

// rekey lets a peer change its keys n times in one write, and then send payload.
func rekey(t *testing.T, conn *rekeytest.Conn, n int, payload []byte) {
	t.Helper()
	records, err := conn.AppendRekeyed(nil, n, true, payload)
	if err == nil {
		err = conn.WriteRecords(records)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func eachRekeyed(t *testing.T, test func(t *testing.T, x *exchange, p, other *peer, conn *rekeytest.Conn)) {
	bothDrivers(t, func(t *testing.T, open func(testing.TB) Driver) {
		for side := relay.Client; side <= relay.Backend; side++ {
			t.Run(side.String(), func(t *testing.T) {
				x, conns := rekeyed(t, open, true)
				p, other := x.peers(side)
				test(t, x, p, other, conns[side])
			})
		}
	})
}

func TestAPeerMayChangeItsKeysNowAndThen(t *testing.T) {
	eachRekeyed(t, func(t *testing.T, _ *exchange, p, other *peer, conn *rekeytest.Conn) {
		for range keyChangeBurst {
			rekey(t, conn, 1, p.text("under new keys"))
			other.want("data", p.text("under new keys"))
			other.write(other.text("so is the answer"))
			p.want("data", other.text("so is the answer"))
		}
	})
}

// A peer may ask for new keys with each record that it reads until it sees them.
func TestAPeerMayChangeItsKeysOnceForEachRecordThatItGets(t *testing.T) {
	eachRekeyed(t, func(t *testing.T, x *exchange, p, other *peer, conn *rekeytest.Conn) {
		if _, isGoroutine := x.driver.Driver.(*Goroutine); isGoroutine || strings.Contains(t.Name(), "crypto/tls") {
			t.Skip("crypto/tls allows 16 in a row")
		}
		const records = 300
		for range records {
			other.write(other.text("one record"))
			p.want("data", other.text("one record"))
		}
		rekey(t, conn, records, p.text("under new keys"))
		other.want("data", p.text("under new keys"))
		other.write(other.text("so is the answer"))
		p.want("data", other.text("so is the answer"))
	})
}

// Faults B2.
func TestAPeerThatKeepsChangingItsKeysIsAtFault(t *testing.T) {
	eachRekeyed(t, func(t *testing.T, x *exchange, p, other *peer, conn *rekeytest.Conn) {
		rounds := 0
		for end := time.Now().Add(patience); x.count.Load() == 0 && x.driver.Totals().Rules[p.side][relay.RuleKeyUpdates] == 0; rounds++ {
			if time.Now().After(end) {
				t.Fatal("no fault is found")
			}
			records, err := conn.AppendRekeyed(nil, keyChangeBurst-1, true, p.text("x"))
			if err != nil {
				t.Fatal(err)
			}
			if conn.WriteRecords(records) != nil {
				break
			}
			if n := x.driver.QueuedBytes(); n > MaxQueued {
				t.Fatalf("%d bytes wait; want %d at most", n, MaxQueued)
			}
		}
		other.want("what came before", p.text("x"))
		other.close()
		p.close()
		if n := x.driver.Totals().Rules[p.side][relay.RuleKeyUpdates]; n != 1 {
			t.Errorf("%d faults after %d rounds; want 1", n, rounds)
		}
		if v := x.wantVerdict(t, relay.Gateway, 1008, relay.ReasonFault).Verdict; v.Rule != relay.RuleKeyUpdates || v.Side != p.side {
			t.Errorf("verdict is %+v", v)
		}
	})
}

// Faults B2.
func TestASideThatTakesNoAnswersOfItsTransportIsNotRead(t *testing.T) {
	sides(t, testConfig(), func(p *scripted, a, _ relay.Side) {
		p.takes(a, 0)
		const answer = 27
		for n := answer; n <= maxPongs; n += answer {
			p.answers(a, answer)
		}
		if !p.core.Reads(a) {
			p.t.Fatal("the side isn't read at the limit")
		}
		p.answers(a, answer)
		if p.core.Reads(a) {
			p.t.Fatal("the side is read over the limit")
		}
		p.takes(a, roomEnough)
		if !p.core.Reads(a) {
			p.t.Fatal("the side isn't read though it has taken all answers")
		}
	})
}
