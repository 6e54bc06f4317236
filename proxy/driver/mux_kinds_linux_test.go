package driver

import (
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/internal/epoll"
	"sluice/internal/h2test"
	"sluice/proxy/h2"
	"sluice/proxy/relay"
)

func init() {
	openers["loop with streams"] = openMuxes
	for _, k := range []struct {
		name     string
		isStream [2]bool // by side
		tls      security
		isShared bool
	}{
		{"clients", [2]bool{true, false}, security{}, false},
		{"backends", [2]bool{false, true}, security{}, false},
		{"both", [2]bool{true, true}, security{}, false},
		{"clients, over TLS 1.3", [2]bool{true, false}, security{tls.VersionTLS13, 0}, false},
		{"both, over TLS", [2]bool{true, true}, security{tls.VersionTLS13, tls.VersionTLS12}, false},
		{"both, of one connection", [2]bool{true, true}, security{}, true},
		{"backends of clients with TLS", [2]bool{false, true}, security{tls.VersionTLS13, 0}, false},
	} {
		wrap := func(side relay.Side, isSmall bool, peer, gateway net.Conn) (net.Conn, net.Conn) {
			if !k.isStream[side] {
				return peer, gateway
			}
			return newStreamPeer(peer, gateway, isSmall)
		}
		open := openMuxes
		if k.isShared {
			open = openSharedMuxes
		}
		kinds = append(kinds, &kind{name: "loop over HTTP/2 of " + k.name, open: open, pair: tcpPair, hasReset: true, isPaused: isPausedInLoop,
			tls: k.tls, isShared: k.isShared, wrap: wrap})
	}
}

// muxes is the driver of Linux for sessions whose sides are streams of HTTP/2.
type muxes struct {
	*Loops
	isShared bool // the streams of a side are of one connection, otherwise each of one of its own

	mu     sync.Mutex
	last   int       // path
	shared [2]*muxed // by side: the last connection
}

func openMuxes(t testing.TB) Driver { return &muxes{Loops: openLoops(t).(*Loops)} }

func openSharedMuxes(t testing.TB) Driver {
	return &muxes{Loops: openOneLoop(t).(*Loops), isShared: true}
}

// A streamPeer is the peer's end of a stream, which comes to be when the driver gets the gateway's end.
type streamPeer struct {
	ready  chan struct{} // closed when stream is set
	until  time.Time     // deadline that was set before
	over   chan struct{} // closed by Close
	once   sync.Once
	stream *h2test.Stream
	socket net.Conn
}

// A streamEnd is the gateway's end of a connection of HTTP/2, before a driver has it.
type streamEnd struct {
	net.Conn
	peer    *streamPeer
	options h2test.Options
}

func newStreamPeer(peer, gateway net.Conn, small bool) (*streamPeer, *streamEnd) {
	p := &streamPeer{ready: make(chan struct{}), over: make(chan struct{}), socket: peer}
	e := &streamEnd{Conn: gateway, peer: p}
	if small {
		e.options.Window = smallBytes
	}
	return p, e
}

func (p *streamPeer) begin(s *h2test.Stream) {
	p.stream = s
	_ = s.SetDeadline(p.until)
	close(p.ready)
}

func (p *streamPeer) await() *h2test.Stream {
	<-p.ready
	return p.stream
}

func (p *streamPeer) Read(b []byte) (int, error) {
	n, err := p.await().Read(b)
	if reset := (*h2test.ResetError)(nil); errors.As(err, &reset) {
		err = syscall.ECONNRESET
	}
	return n, err
}
func (p *streamPeer) Write(b []byte) (int, error)        { return p.await().Write(b) }
func (p *streamPeer) CloseWrite() error                  { return p.await().CloseWrite() }
func (p *streamPeer) LocalAddr() net.Addr                { return p.socket.LocalAddr() }
func (p *streamPeer) RemoteAddr() net.Addr               { return p.socket.RemoteAddr() }
func (p *streamPeer) SetReadDeadline(t time.Time) error  { return p.await().SetReadDeadline(t) }
func (p *streamPeer) SetWriteDeadline(t time.Time) error { return p.await().SetWriteDeadline(t) }

// SetDeadline may be called before the driver has the gateway's end, but not at the same time.
func (p *streamPeer) SetDeadline(t time.Time) error {
	select {
	case <-p.ready:
		return p.stream.SetDeadline(t)
	default:
		p.until = t
		return nil
	}
}

// Close ends the stream. The connection ends soon after, at the latest when the gateway ends its own direction.
func (p *streamPeer) Close() error {
	defer p.once.Do(func() { close(p.over) })
	select {
	case <-p.ready:
		return p.stream.Close()
	default:
		return p.socket.Close()
	}
}

// SetLinger is for a reset.
func (p *streamPeer) SetLinger(int) error {
	s := p.await()
	return s.Reset(8) // CANCEL
}

// A joining is a session on its way to its streams. It is the Task of the slot.
type joining struct {
	resume chan func(func(Work, bool)) // the slot has its client
	head   chan struct{}               // the backend has answered
}

func newJoining() *joining {
	return &joining{resume: make(chan func(func(Work, bool)), 1), head: make(chan struct{})}
}

func (*joining) Ready(Work, relay.Side, uint32)      {}
func (*joining) Due(Work)                            {}
func (*joining) Cut(w Work)                          { w.Drop() }
func (*joining) Failed(w Work)                       { w.Drop() }
func (*joining) Data(Work, relay.Side, []byte, bool) {}
func (*joining) Reset(w Work, _ relay.Side, _ h2.Code, _ error) {
	w.Drop()
}
func (j *joining) Head(Work, relay.Side, *h2.Head, bool) { close(j.head) }

// A muxed is a connection of HTTP/2 of one side, as its owner and its peer. Sessions of which the path is the number of their stream's joining.
type muxed struct {
	mux   chan *Mux // it is ready
	ended chan error

	client  *h2test.Conn                   // the peer, if it is one
	streams map[string]chan *h2test.Stream // by path: those that the peer has accepted, if it is a backend
	over    map[string]chan struct{}       // by path: closed when the test has closed it

	mu       sync.Mutex
	joinings map[string]*joining // by path
}

func newMuxed() *muxed {
	return &muxed{mux: make(chan *Mux, 1), ended: make(chan error, 1), streams: map[string]chan *h2test.Stream{}, over: map[string]chan struct{}{}, joinings: map[string]*joining{}}
}

func (c *muxed) add(path string, j *joining, p *streamPeer) (accepted chan *h2test.Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joinings[path], c.streams[path], c.over[path] = j, make(chan *h2test.Stream, 1), p.over
	return c.streams[path]
}

func (c *muxed) Opened(w Work, _ *Mux, head *h2.Head, _ bool) StreamTask {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.joinings[head.Path]
	j.resume <- w.Resume()
	return j
}

func (c *muxed) Changed(m *Mux) {
	if m.Room() > 0 && m.CanConnect() {
		select {
		case c.mux <- m:
		default:
		}
	}
}

func (c *muxed) Ended(_ *Mux, err error) { c.ended <- err }

// accept accepts a stream as a backend.
func (c *muxed) accept(s *h2test.Stream) {
	if s.Answer(200) != nil {
		return
	}
	c.mu.Lock()
	accepted, over := c.streams[s.Field(":path")], c.over[s.Field(":path")]
	c.mu.Unlock()
	accepted <- s
	<-over // the test ends the stream
}

// muxedOf returns the connection of a side's end: of its own, or the one that all share.
func (d *muxes) muxedOf(side relay.Side, end *streamEnd, host func(func(Host))) (c *muxed) {
	if c = d.shared[side]; d.isShared && c != nil {
		_, _ = end.Conn.Close(), end.peer.socket.Close()
		return c
	}
	c = newMuxed()
	d.shared[side] = c
	params := MuxParams{Owner: c, HeadTimeout: patience, IdleTimeout: 5 * time.Second, WriteTimeout: patience}
	streams := 128
	if d.isShared {
		params.IdleTimeout, streams = 0, 1000
	}
	if side == relay.Client {
		params.Config = &h2.Config{Role: h2.Server, Streams: streams, Connect: true}
		d.need(d.TakeMux(end.Conn, params, func(m *Mux) { c.mux <- m }))
		var err error
		c.client, err = h2test.NewClient(end.peer.socket, end.options)
		d.needNil(err)
		return c
	}
	params.Config = &h2.Config{Role: h2.Client, Streams: streams}
	h2test.ServeConn(end.peer.socket, end.options, c.accept)
	host(func(h Host) {
		_, err := h.NewMux(end.Conn, params)
		d.needNil(err)
	})
	m := <-c.mux
	c.mux <- m
	return c
}

// Relay implements Driver. It blocks until the streams are there.
func (d *muxes) Relay(p Params, client, backend net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clientEnd, _ := client.(*streamEnd)
	backendEnd, _ := backend.(*streamEnd)
	if clientEnd == nil && backendEnd == nil {
		d.Loops.Relay(p, client, backend)
		return
	}
	d.last++
	j, path := newJoining(), "/"+strconv.Itoa(d.last)
	var opened sync.WaitGroup
	defer opened.Wait()
	if clientEnd != nil {
		c := d.muxedOf(relay.Client, clientEnd, nil)
		c.add(path, j, clientEnd.peer)
		stream, err := c.client.Open(h2test.WebSocket("gateway", path), false)
		d.needNil(err)
		opened.Go(func() {
			_, err = stream.Response()
			d.needNil(err)
			clientEnd.peer.begin(stream)
		})
	} else {
		d.need(d.Take(client, j, func(w Work) { j.resume <- w.Resume() }))
	}
	resume := <-j.resume
	do := func(f func(w Work)) {
		done := make(chan struct{})
		resume(func(w Work, isLive bool) {
			defer close(done)
			d.need(isLive)
			f(w)
		})
		<-done
	}
	if backendEnd != nil {
		c := d.muxedOf(relay.Backend, backendEnd, func(f func(Host)) { do(func(w Work) { f(w.Host()) }) })
		accepted := c.add(path, j, backendEnd.peer)
		m := <-c.mux
		c.mux <- m
		do(func(w Work) {
			fields := []h2.Field{{Name: ":method", Value: "CONNECT"}, {Name: ":protocol", Value: "websocket"}, {Name: ":scheme", Value: "http"},
				{Name: ":path", Value: path}, {Name: ":authority", Value: "backend"}}
			d.need(w.OpenStream(relay.Backend, m, fields, false))
		})
		<-j.head
		backendEnd.peer.begin(<-accepted)
	} else {
		do(func(w Work) {
			fd, err := epoll.Detach(backend)
			d.needNil(err)
			w.SetBackend(fd)
		})
	}
	do(func(w Work) {
		if clientEnd != nil {
			w.SendHead(relay.Client, []h2.Field{{Name: ":status", Value: "200"}}, false)
		}
		w.Relay(d.Loops, p)
	})
}

func (d *muxes) need(isSo bool) {
	if !isSo {
		panic("the loops have ended")
	}
}

func (d *muxes) needNil(err error) {
	if err != nil {
		panic(err)
	}
}
