package driver

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"golang.org/x/net/http2"

	"sluice/internal/h2test"
	"sluice/proxy/h2"
	"sluice/proxy/relay"
)

// streamsOf is a kind of which each client is a stream of one connection, and each backend a socket.
func streamsOf(open func(testing.TB) Driver) *kind {
	return &kind{open: open, pair: tcpPair, wrap: func(side relay.Side, isSmall bool, peer, gateway net.Conn) (net.Conn, net.Conn) {
		if side == relay.Backend {
			return peer, gateway
		}
		return newStreamPeer(peer, gateway, isSmall)
	}}
}

// clientsOf returns the connection of the clients.
func clientsOf(d *tested) *muxed { return d.Driver.(*muxes).shared[relay.Client] }

func (c *muxed) wantEnd(t *testing.T, isWanted func(error) bool) {
	t.Helper()
	select {
	case err := <-c.ended:
		if !isWanted(err) {
			t.Errorf("the connection ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("the connection doesn't end")
	}
}

func isNil(err error) bool { return err == nil }

func joinStreams(t *testing.T, d *tested, k *kind, n int) (all []*exchange) {
	for range n {
		x := join(t, d, k, setup{})
		x.wantEcho(t, "a session on a stream")
		all = append(all, x)
	}
	return all
}

// PROTOCOL: a fault of HTTP/2 ends the connection, after the streams under it have got their close.
func TestAFaultOfHTTP2EndsItsConnectionAfterACloseToEachStream(t *testing.T) {
	k := streamsOf(openSharedMuxes)
	d := openTested(t, k)
	all := joinStreams(t, d, k, 3)
	c := clientsOf(d)
	socket := all[0].client.conn.(*streamPeer).socket
	if err := http2.NewFramer(socket, nil).WriteRawFrame(http2.FrameData, 0, 0, []byte("DATA of no stream")); err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		x.client.wantClose("the fault", 1002, "the HTTP/2 connection broke its rules")
		x.backend.wantClose("the fault", 1001, "*")
		r := x.wantVerdict(t, relay.Gateway, 1002, relay.ReasonFault)
		if r.Verdict.Rule != relay.RuleHTTP2 || r.Verdict.Side != relay.Client {
			t.Errorf("rule %v of the %v; want http2 of the client", r.Verdict.Rule, r.Verdict.Side)
		}
	}
	if code, err := c.client.AwaitGoAway(); err != nil || code != http2.ErrCodeProtocol {
		t.Errorf("GOAWAY %v, %v; want PROTOCOL_ERROR", code, err)
	}
	c.wantEnd(t, func(err error) bool {
		var fault *h2.Fault
		return errors.As(err, &fault) && fault.Code == h2.ProtocolError
	})
}

func TestALostConnectionIsLostForEachOfItsStreams(t *testing.T) {
	k := streamsOf(openSharedMuxes)
	d := openTested(t, k)
	all := joinStreams(t, d, k, 3)
	c := clientsOf(d)
	_ = c.client.Close()
	for _, x := range all {
		x.backend.wantClose("the client's connection", 1001, "*")
		if r := x.wantResult(t); r.Verdict.Initiator != relay.ByClient || r.Verdict.Side != relay.Client {
			t.Errorf("verdict %+v; want a loss of the client", r.Verdict)
		}
	}
	c.wantEnd(t, func(err error) bool { return err != nil })
}

func TestAConnectionThatGoesAwayEndsAfterItsLastStream(t *testing.T) {
	k := streamsOf(openSharedMuxes)
	d := openTested(t, k)
	all := joinStreams(t, d, k, 2)
	c := clientsOf(d)
	m := <-c.mux
	m.GoAway()
	if code, err := c.client.AwaitGoAway(); err != nil || code != http2.ErrCodeNo {
		t.Fatalf("GOAWAY %v, %v; want NO_ERROR", code, err)
	}
	for _, x := range all {
		x.wantEcho(t, "after the GOAWAY")
		x.client.write(x.client.closing(1000, ""))
		x.backend.wantClose("the client's close", 1000, "")
		x.backend.write(x.backend.closing(1000, ""))
		x.client.wantClose("the backend's close", 1000, "")
		x.client.wantEnd("after the closes")
		x.client.close()
		x.backend.close()
		x.wantVerdict(t, relay.ByClient, 1000, relay.ReasonClose)
	}
	c.wantEnd(t, isNil)
}

func TestAConnectionWithoutAStreamEndsAfterItsIdleTimeout(t *testing.T) {
	d := openLoops(t).(*Loops)
	defer d.Close(t.Context())
	peer, gateway := tcpPair(t, false)
	c := newMuxed()
	params := MuxParams{Config: &h2.Config{Streams: 128}, Owner: c, HeadTimeout: patience, IdleTimeout: 100 * time.Millisecond, WriteTimeout: patience}
	if !d.TakeMux(gateway, params, func(*Mux) {}) {
		t.Fatal("not taken")
	}
	client, err := h2test.NewClient(peer, h2test.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := client.AwaitGoAway(); err != nil || code != http2.ErrCodeNo {
		t.Errorf("GOAWAY %v, %v; want NO_ERROR", code, err)
	}
	c.wantEnd(t, isNil)
	<-client.Done()
}

func TestAConnectionWithoutAPrefaceEndsAfterItsHeadTimeout(t *testing.T) {
	d := openLoops(t).(*Loops)
	defer d.Close(t.Context())
	peer, gateway := tcpPair(t, false)
	c := newMuxed()
	params := MuxParams{Config: &h2.Config{Streams: 128}, Owner: c, HeadTimeout: 100 * time.Millisecond, WriteTimeout: patience}
	if !d.TakeMux(gateway, params, func(*Mux) {}) {
		t.Fatal("not taken")
	}
	c.wantEnd(t, func(err error) bool { return err != nil })
	if _, err := io.Copy(io.Discard, peer); err != nil {
		t.Errorf("the peer reads: %v; want the end", err)
	}
}

// Streams of a connection whose backends don't read leave the others their share of it.
func TestStreamsThatAreNotTakenLeaveTheOthersOfTheirConnection(t *testing.T) {
	k := streamsOf(openSharedMuxes)
	d := openTested(t, k)
	echoes := joinStreams(t, d, k, 2)
	for range 20 {
		x := join(t, d, k, setup{})
		stopped := x
		done := stopped.client.writeAll(stopped.client.frame(isFin|opBinary, make([]byte, 16<<20)))
		eventually(t, "the backend's side is full", func() bool { st, _ := x.handle.Stats(); return st.Queued[relay.Backend] > highMark })
		select {
		case <-done:
			t.Fatal("all of it was taken")
		default:
		}
	}
	for range 100 {
		for _, x := range echoes {
			x.wantEcho(t, "beside streams that stand still")
		}
	}
}

// A peer that gives windows of one byte gets all the same.
func TestAWindowOfOneByte(t *testing.T) {
	d := openSharedMuxes(t).(*muxes)
	k := &kind{open: func(testing.TB) Driver { return d }, pair: tcpPair, wrap: func(side relay.Side, _ bool, peer, gateway net.Conn) (net.Conn, net.Conn) {
		if side == relay.Backend {
			return peer, gateway
		}
		p, e := newStreamPeer(peer, gateway, false)
		e.options.Window = 1
		return p, e
	}}
	x := begin(t, k, setup{})
	text := x.backend.text("one byte at a time")
	x.backend.write(text)
	x.client.want("a message", text)
	x.backend.write(x.backend.closing(1000, "bye"))
	x.client.wantClose("a close", 1000, "bye")
}

// A panic over a connection ends it with its sessions, and no other.
func TestAPanicOverAConnectionEndsItAlone(t *testing.T) {
	p := new(panics)
	k := streamsOf(openSharedMuxes)
	own := *k
	own.open = func(t testing.TB) Driver { return openRecovering(t, k, p.handle) }
	d := openTested(t, &own)
	other := join(t, d, oneLoop(), setup{})
	all := joinStreams(t, d, k, 2)
	c := clientsOf(d)
	m := <-c.mux
	m.command(func() { panic("injected") })
	for _, x := range all {
		x.backend.wantClose("the panic", 1001, "*")
		x.wantResult(t)
	}
	c.wantEnd(t, func(err error) bool { return errors.Is(err, errFailed) })
	other.wantEcho(t, "after the panic")
	p.want(t, "injected")
}

// A lender lends each stream that its Mux opens.
type lender struct {
	*muxed
	lent chan *StreamConn
}

func (l *lender) Opened(w Work, _ *Mux, _ *h2.Head, _ bool) StreamTask {
	l.lent <- w.LendStream(relay.Client, nil)
	w.Release()
	return nil
}

func openLender(t *testing.T) (client *h2test.Conn, lent chan *StreamConn) {
	return openLenderWith(t, patience)
}

func openLenderWith(t *testing.T, writeTimeout time.Duration) (client *h2test.Conn, lent chan *StreamConn) {
	t.Helper()
	peer, lent := openLending(t, writeTimeout)
	client, err := h2test.NewClient(peer, h2test.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, lent
}

// openLending returns the peer's end of a Mux each of whose streams is lent.
func openLending(t *testing.T, writeTimeout time.Duration) (peer net.Conn, lent chan *StreamConn) {
	d := openLoops(t).(*Loops)
	t.Cleanup(func() { _ = d.Close(t.Context()) })
	peer, gateway := tcpPair(t, false)
	l := &lender{newMuxed(), make(chan *StreamConn, 1)}
	if !d.TakeMux(gateway, MuxParams{Config: &h2.Config{Streams: 128}, Owner: l, HeadTimeout: patience, WriteTimeout: writeTimeout}, func(*Mux) {}) {
		t.Fatal("not taken")
	}
	return peer, l.lent
}

func TestAStreamThatIsLentIsAConnection(t *testing.T) {
	client, lent := openLender(t)
	s, err := client.Open(h2test.Request("POST", "gateway", "/"), false)
	if err != nil {
		t.Fatal(err)
	}
	conn := <-lent
	if _, isTCP := conn.RemoteAddr().(*net.TCPAddr); !isTCP {
		t.Errorf("the peer's address is %v", conn.RemoteAddr())
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read past its deadline: %v", err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	const size = 4 << 20 // more than all windows and buffers
	go func() {
		_, _ = s.Write(make([]byte, size))
		_ = s.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, conn); n != size || err != nil {
		t.Errorf("%d bytes were read, %v; want %d", n, err, size)
	}
	go func() {
		_ = conn.WriteHead([]h2.Field{{Name: ":status", Value: "200"}}, false)
		_, _ = conn.Write(make([]byte, size))
		_ = conn.WriteHead([]h2.Field{{Name: "trailer", Value: "x"}}, true)
		_ = conn.Close()
	}()
	if r, err := s.Response(); err != nil || r.Status != 200 {
		t.Fatalf("response %v, %v", r, err)
	}
	if n, err := io.Copy(io.Discard, s); n != size || err != nil {
		t.Errorf("%d bytes came, %v; want %d", n, err, size)
	}
	if trailers := s.Trailers(); len(trailers) != 1 || trailers[0].Value != "x" {
		t.Errorf("trailers %v", trailers)
	}
	if err := conn.AwaitReset(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAStreamThatIsLentTellsOfAReset(t *testing.T) {
	client, lent := openLender(t)
	s, err := client.Open(h2test.Request("GET", "gateway", "/"), true)
	if err != nil {
		t.Fatal(err)
	}
	conn := <-lent
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the body of a request without one: %d, %v", n, err)
	}
	if err := s.Reset(http2.ErrCodeCancel); err != nil {
		t.Fatal(err)
	}
	if err := conn.AwaitReset(); !isReset(err) {
		t.Errorf("after a reset: %v", err)
	}
	if _, err := conn.Write([]byte("x")); !isReset(err) {
		t.Errorf("a write after a reset: %v", err)
	}
	_ = conn.Close()
}

func TestACloseWithoutAnEndResetsAStreamThatIsLent(t *testing.T) {
	client, lent := openLender(t)
	s, err := client.Open(h2test.Request("GET", "gateway", "/"), true)
	if err != nil {
		t.Fatal(err)
	}
	_ = (<-lent).Close()
	var reset *h2test.ResetError
	if _, err := s.Response(); !errors.As(err, &reset) || reset.Code != http2.ErrCodeCancel {
		t.Errorf("response: %v; want a reset, CANCEL", err)
	}
}

// Streams that wait for room wait once each, however often they are asked, and each has its turn.
func TestStreamsThatAreLentShareAConnection(t *testing.T) {
	client, lent := openLender(t)
	const streams, size = 20, 1 << 20
	var m *Mux
	var done sync.WaitGroup
	for range streams {
		s, err := client.Open(h2test.Request("GET", "gateway", "/"), true)
		if err != nil {
			t.Fatal(err)
		}
		conn := <-lent
		m = conn.mux
		done.Go(func() {
			_ = conn.WriteHead([]h2.Field{{Name: ":status", Value: "200"}}, false)
			for range size >> 10 {
				_, _ = conn.Write(make([]byte, 1<<10))
			}
			_ = conn.CloseWrite()
			_ = conn.Close()
		})
		done.Go(func() {
			if n, err := io.Copy(io.Discard, s); n != size || err != nil {
				t.Errorf("%d bytes came, %v; want %d", n, err, size)
			}
		})
	}
	over := make(chan struct{})
	go func() { done.Wait(); close(over) }()
	for {
		m.loop.do(func() {
			if len(m.full) > streams {
				t.Errorf("%d wait for room, of %d streams", len(m.full), streams)
				m.full = m.full[:0] // the test ends
				m.Cut(h2.Cancel, "")
			}
		})
		select {
		case <-over:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// What is kept for the end of a stream goes with it.
func TestAStreamThatIsLentAndEndedIsForgotten(t *testing.T) {
	client, lent := openLender(t)
	s, err := client.Open(h2test.Request("GET", "gateway", "/"), true)
	if err != nil {
		t.Fatal(err)
	}
	conn := <-lent
	_ = conn.WriteHead([]h2.Field{{Name: ":status", Value: "200"}}, false)
	_, _ = conn.Write(make([]byte, 32<<10))
	_ = conn.CloseWrite()
	_ = conn.Close()
	if r, err := s.Response(); err != nil || r.Status != 200 {
		t.Fatalf("response %v, %v", r, err)
	}
	if n, err := io.Copy(io.Discard, s); n != 32<<10 || err != nil {
		t.Errorf("%d bytes came, %v", n, err)
	}
	kept := weak.Make(conn)
	conn = nil
	eventually(t, "the stream is forgotten", func() bool {
		runtime.GC()
		return kept.Value() == nil
	})
}

// Streams that all have more to send than the connection's window lets pass get the same of it each.
func TestStreamsShareTheWindowOfTheirConnection(t *testing.T) {
	const streams, total = 3, 6 << 20
	peer, lent := openLending(t, patience)
	client := h2test.NewRaw(peer)
	if err := client.Begin(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(streams) {
		_ = client.Headers(1+2*i, true, h2test.Request("GET", "gateway", "/")...)
		conn := <-lent
		defer func() { _ = conn.Close() }()
		_ = conn.WriteHead([]h2.Field{{Name: ":status", Value: "200"}}, false)
		go func() {
			for err := error(nil); err == nil; {
				_, err = conn.Write(make([]byte, 32<<10))
			}
		}()
	}
	got := map[uint32]int{}
	for all := 0; all < total; {
		f, err := client.Next()
		if err != nil {
			t.Fatal(err)
		}
		if data, isData := f.(*http2.DataFrame); isData {
			n := len(data.Data())
			got[data.StreamID] += n
			all += n
			_ = client.Framer.WriteWindowUpdate(0, uint32(n)) // also pieces of a few bytes, which came so: that is no flood
		}
	}
	for i := range uint32(streams) {
		if n := got[1+2*i]; n < total/streams/2 {
			t.Errorf("%d bytes of %d, on %d streams: %v", n, total, streams, got)
		}
	}
}

// What waits after Close is bounded by a timer only if it waits, and by how long nothing of it is taken, not by how long all takes.
func TestWhatAClosedStreamWaitsWithIsBounded(t *testing.T) {
	open := func(t *testing.T, timeout time.Duration, size int) (*h2test.Stream, *StreamConn) {
		client, lent := openLenderWith(t, timeout)
		s, err := client.Open(h2test.Request("GET", "gateway", "/"), true)
		if err != nil {
			t.Fatal(err)
		}
		conn := <-lent
		_ = conn.WriteHead([]h2.Field{{Name: ":status", Value: "200"}}, false)
		_, _ = conn.Write(make([]byte, size))
		_ = conn.CloseWrite()
		_ = conn.Close()
		return s, conn
	}
	t.Run("nothing waits", func(t *testing.T) {
		s, conn := open(t, time.Hour, 100)
		if got, err := io.ReadAll(s); len(got) != 100 || err != nil {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		conn.mux.loop.do(func() {
			if conn.bounded != nil {
				t.Error("there is a timer")
			}
		})
	})
	t.Run("nothing is taken", func(t *testing.T) {
		s, conn := open(t, 100*time.Millisecond, 100<<10) // more than its window
		for isGone := false; !isGone; time.Sleep(time.Millisecond) {
			conn.mux.loop.do(func() { isGone = conn.isGone })
		}
		var reset *h2test.ResetError
		if _, err := io.ReadAll(s); !errors.As(err, &reset) || reset.Code != http2.ErrCodeCancel {
			t.Errorf("the end is %v; want a reset, CANCEL", err)
		}
	})
	t.Run("it is taken slowly", func(t *testing.T) {
		s, _ := open(t, 600*time.Millisecond, 120<<10)
		for left := 120 << 10; left > 0; {
			n, err := s.Read(make([]byte, 16<<10))
			if left -= n; err != nil && left > 0 {
				t.Fatalf("%d bytes are missing: %v", left, err)
			}
			time.Sleep(200 * time.Millisecond) // in all, more than the timeout
		}
	})
}
