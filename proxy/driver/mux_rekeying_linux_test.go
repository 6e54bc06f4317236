package driver

import (
	"testing"

	"golang.org/x/net/http2"

	"sluice/internal/h2test"
	"sluice/proxy/h2"
	"sluice/proxy/relay"
)

// A connection over crypto/tls that changes its keys while its peer reads nothing leaves the records of the loop's other connections alone.
func TestChangesOfKeysStayWithTheirHTTP2Connection(t *testing.T) {
	d := openOneLoop(t).(*Loops)
	t.Cleanup(func() { _ = d.Close(t.Context()) })
	for l := range d.all() {
		l.do(func() { l.takesRecords = false })
	}
	lent := make(chan *StreamConn, 1)
	begin := func() (peer *h2test.Raw, rekey func([]byte) error, m *Mux) {
		lower, gateway := tcpPair(t, true)
		conn, ours := rekeyingPair(t, relay.Client, lower, gateway)
		p := MuxParams{Config: &h2.Config{Streams: 128}, Owner: &lender{newMuxed(), lent}, HeadTimeout: patience, WriteTimeout: patience}
		begun := make(chan *Mux, 1)
		if !d.TakeMux(ours, p, func(m *Mux) { begun <- m }) {
			t.Fatal("not taken")
		}
		peer = h2test.NewRaw(conn)
		if err := peer.Begin(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}); err != nil {
			t.Fatal(err)
		}
		_ = peer.Framer.WriteWindowUpdate(0, 1<<30)
		return peer, func(payload []byte) error {
			records, err := conn.AppendRekeyed(nil, 1, true, payload)
			if err == nil {
				err = conn.WriteRecords(records)
			}
			return err
		}, <-begun
	}
	stalled, rekey, m := begin()
	other, _, _ := begin()

	if err := stalled.Headers(1, true, h2test.Request("GET", "gateway", "/")...); err != nil {
		t.Fatal(err)
	}
	conn := <-lent
	_ = conn.WriteHead([]h2.Field{{Name: ":status", Value: "200"}}, false)
	const size = 8 << 20
	go func() {
		_, _ = conn.Write(make([]byte, size))
		_ = conn.CloseWrite()
		_ = conn.Close()
	}()
	before := 0
	eventually(t, "the socket is full", func() (isFull bool) {
		m.loop.do(func() {
			isFull = m.slot.pending.waiting(relay.Client) > 0 && m.waiting() >= muxHigh
			before = m.out.n
		})
		return isFull
	})
	ping := []byte{0, 0, 8, 6, 0, 0, 0, 0, 0, 's', 't', 'a', 'l', 'l', 'e', 'd', '!'}
	if err := rekey(ping); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the ping is read", func() (isRead bool) {
		m.loop.do(func() { isRead = m.out.n > before }) // the answer waits
		return isRead
	})
	wantPong := func(peer *h2test.Raw, data [8]byte) {
		t.Helper()
		if _, err := peer.Await("a pong", func(f http2.Frame) bool {
			p, isPing := f.(*http2.PingFrame)
			return isPing && p.IsAck() && p.Data == data
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Framer.WritePing(false, [8]byte{'o'}); err != nil {
		t.Fatal(err)
	}
	wantPong(other, [8]byte{'o'})
	wantPong(stalled, [8]byte(ping[9:]))
	if err := stalled.Framer.WritePing(false, [8]byte{'a'}); err != nil {
		t.Fatal(err)
	}
	wantPong(stalled, [8]byte{'a'})
}
