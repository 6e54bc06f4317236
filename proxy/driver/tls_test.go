package driver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// A tap is the connection below a peer's TLS: it sees the records that the peer is sent, and can hold back what the peer sends.
type tap struct {
	net.Conn

	mu   sync.Mutex
	last [5]byte // header of the record that came last; guarded by mu
	left int     // of that record; guarded by mu
	have int     // of its header; guarded by mu

	isSlow   bool             // writes go a byte at a time
	onRecord func(length int) // is called for each record that the peer is sent; nil: nothing is
}

func (c *tap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range p[:n] {
		if c.left > 0 {
			c.left--
			continue
		}
		if c.have == len(c.last) {
			c.have = 0
		}
		c.last[c.have] = b
		if c.have++; c.have == len(c.last) {
			c.left = int(c.last[3])<<8 | int(c.last[4])
			if c.onRecord != nil {
				c.onRecord(c.left)
			}
		}
	}
	return n, err
}

func (c *tap) Write(p []byte) (n int, err error) {
	if !c.isSlow {
		return c.Conn.Write(p)
	}
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(10 * time.Microsecond) // so that they arrive one by one, mostly
	}
	return len(p), nil
}

// isAlert reports whether the last record that came is an alert by its length: that of TLS 1.3 has 2 bytes, a type and a tag.
func (c *tap) isAlert() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left == 0 && c.last[3] == 0 && c.last[4] == 2+1+16
}

// tapped begins an exchange over TLS 1.3 of both sides with taps below the peers.
func tapped(t *testing.T, open func(testing.TB) Driver, isSlow bool) (x *exchange, taps [2]*tap) {
	k := &kind{name: "tapped", open: open, hasReset: true, tls: security{tls.VersionTLS13, tls.VersionTLS13}}
	made := 0
	k.pair = func(t testing.TB, small bool) (peer, gateway net.Conn) {
		peer, gateway = tcpPair(t, small)
		taps[made] = &tap{Conn: peer, isSlow: isSlow}
		made++
		return taps[made-1], gateway
	}
	return begin(t, k, setup{}), taps
}

// CloseWrite and SetLinger are the socket's.
func (c *tap) CloseWrite() error           { return c.Conn.(*net.TCPConn).CloseWrite() }
func (c *tap) SetLinger(seconds int) error { return c.Conn.(*net.TCPConn).SetLinger(seconds) }

// bothDrivers runs a test with each driver.
func bothDrivers(t *testing.T, test func(t *testing.T, open func(testing.TB) Driver)) {
	for name, open := range openers {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

func TestASessionOverTLSEndsWithCloseNotifyOnBothSides(t *testing.T) {
	bothDrivers(t, func(t *testing.T, open func(testing.TB) Driver) {
		x, taps := tapped(t, open, false)
		x.client.write(x.client.closing(1000, "bye"))
		x.backend.wantClose("the client's close", 1000, "bye")
		x.backend.write(x.backend.closing(1000, "bye"))
		x.client.wantClose("the answer", 1000, "bye")
		x.client.wantEnd("both closes")
		if !taps[relay.Client].isAlert() {
			t.Error("the client's stream ended without close_notify")
		}
		x.client.close()
		x.backend.shut()
		x.backend.wantEnd("both closes, and its own end")
		if !taps[relay.Backend].isAlert() {
			t.Error("the backend's stream ended without close_notify")
		}
		x.wantVerdict(t, relay.ByClient, 1000, relay.ReasonClose)
	})
}

// Faults C22: a backend may wait for close_notify before it ends the connection, or may have sent its own and wait for the end.
func TestABackendOverTLSThatWaitsForCloseNotifyEndsItsSession(t *testing.T) {
	bothDrivers(t, func(t *testing.T, open func(testing.TB) Driver) {
		for _, isFirst := range []bool{false, true} {
			x, taps := tapped(t, open, false)
			x.client.write(x.client.closing(1000, "bye"))
			x.backend.wantClose("the client's close", 1000, "bye")
			x.backend.write(x.backend.closing(1000, "bye"))
			if isFirst {
				_ = x.backend.conn.(*tlsPeer).Conn.CloseWrite()
			}
			x.client.wantClose("the answer", 1000, "bye")
			x.backend.wantEnd("both closes")
			if !taps[relay.Backend].isAlert() {
				t.Errorf("the backend's stream ended without close_notify; its own came first: %t", isFirst)
			}
			if !isFirst {
				x.backend.close()
			}
			x.client.close()
			x.wantVerdict(t, relay.ByClient, 1000, relay.ReasonClose)
			x.backend.close()
		}
	})
}

func TestACutOverTLSIsAResetWithoutCloseNotify(t *testing.T) {
	bothDrivers(t, func(t *testing.T, open func(testing.TB) Driver) {
		x, taps := tapped(t, open, false)
		x.backend.write(x.backend.header(isFin|opBinary, 100), []byte("a part"))
		x.client.want("the part", append(x.backend.header(isFin|opBinary, 100), "a part"...))
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := x.driver.Close(ctx); err != nil { // no close can go inside a frame
			t.Error(err)
		}
		if _, err := x.client.readOn(); !isReset(err) {
			t.Errorf("the client reads %v, want a reset", err)
		}
		if taps[relay.Client].isAlert() {
			t.Error("a cut was announced by close_notify")
		}
		x.wantResult(t)
	})
}

func TestRecordsThatComeByteByByteAreRelayed(t *testing.T) {
	bothDrivers(t, func(t *testing.T, open func(testing.TB) Driver) {
		x, _ := tapped(t, open, true)
		message := x.client.frame(isFin|opBinary, bytes.Repeat([]byte("slow "), 200))
		for range 3 {
			x.client.write(message)
			x.backend.want("data", message)
		}
		x.backend.write(x.backend.text("back"))
		x.client.want("data", x.backend.text("back"))
	})
}

func TestCloseNotifyAndTheEndOfTCPAreEachTheEndOfTheStream(t *testing.T) {
	bothDrivers(t, func(t *testing.T, open func(testing.TB) Driver) {
		for name, end := range map[string]func(*tap, *peer) error{
			"TCP without close_notify": func(socket *tap, _ *peer) error { return socket.CloseWrite() },
			"close_notify alone":       func(_ *tap, p *peer) error { return p.conn.(*tlsPeer).Conn.CloseWrite() },
		} {
			for side, code := range map[relay.Side]uint16{relay.Client: 1001, relay.Backend: 1011} {
				x, taps := tapped(t, open, false)
				p, other := x.peers(side)
				p.write(p.text("last"))
				other.want("data", p.text("last"))
				if err := end(taps[side], p); err != nil {
					t.Fatal(err)
				}
				other.wantClose(name, code, "*")
				other.write(other.text("still heard"))
				p.want("data of the other side", other.text("still heard"))
			}
		}
	})
}

func TestASwitchOnALoopNeverBlocksAndTakesEverything(t *testing.T) {
	f := &feed{in: []byte("abc")}
	s := &Switch{feed: f}
	p := make([]byte, 2)
	for _, want := range []struct {
		text string
		err  error
	}{{"ab", nil}, {"c", nil}, {"", errNothing}} {
		if n, err := s.Read(p); string(p[:n]) != want.text || err != want.err {
			t.Errorf("Read = %q, %v; want %q, %v", p[:n], err, want.text, want.err)
		}
	}
	large := make([]byte, 1<<20)
	if n, err := s.Write(large); n != len(large) || err != nil || len(f.out) != len(large) {
		t.Errorf("Write = %d, %v with %d bytes in the feed; want all of them", n, err, len(f.out))
	}
	if err := errors.Join(s.SetDeadline(time.Now()), s.SetReadDeadline(time.Now()), s.SetWriteDeadline(time.Now()), s.Close()); err != nil {
		t.Error(err)
	}
	if s.RemoteAddr() == nil || s.LocalAddr() == nil {
		t.Error("crypto/tls names its session by an address that is nil")
	}
}

func TestASwitchGivesWhatWasReadBeforeFirst(t *testing.T) {
	a, b := memoryPair()
	s := NewSwitch(b, []byte("early "))
	if _, err := a.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
	if got, err := io.ReadAll(s); string(got) != "early late" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestTheBuffersOfCryptoTLSAreWhereALoopLendsItsOwn(t *testing.T) {
	if !theTLSBuffers.isKnown {
		t.Error("this Go's crypto/tls has other buffers: TLS sessions cost several times the memory until they are found")
	}
}
