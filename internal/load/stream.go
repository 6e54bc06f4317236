package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// streamBuffer is the size of a session's read buffer and of its largest write: a TLS record.
const streamBuffer = 16 << 10

// streams is the driver with two goroutines per session: for TLS, and for systems without epoll.
type streams struct {
	run      *run
	recorder *recorder       // its lock guards all sessions
	slots    chan struct{}   // one for each session that may be opening
	count    int             // sessions that are to be opened
	ctx      context.Context // ends at stageEnd
	cancel   context.CancelFunc
	stopping chan struct{} // closed at stageStop
	running  sync.WaitGroup
	source   atomic.Int64 // a source: the one whose ports are being used
	muxes    *muxes       // nil: each session has a connection

	sessions map[*stream]struct{} // guarded by recorder.mu: those that are open
}

func newStreams(r *run) *streams {
	d := &streams{run: r, recorder: newRecorder(), slots: make(chan struct{}, maxOpening), stopping: make(chan struct{}), sessions: map[*stream]struct{}{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	r.recorders = []*recorder{d.recorder}
	if r.o.Streams > 0 {
		d.muxes = newMuxes(d)
	}
	return d
}

func (d *streams) open(count int) {
	for id := d.count; id < d.count+count; id++ {
		d.running.Go(func() { d.runSession(id) })
	}
	d.count += count
}

func (d *streams) enter() {
	to := d.run.current()
	if to == stageStop {
		close(d.stopping)
	}
	if to == stageEnd {
		d.cancel()
	}
	d.recorder.mu.Lock()
	defer d.recorder.mu.Unlock()
	for s := range d.sessions {
		s.enter(to, d.run.now())
	}
}

func (d *streams) wait() error {
	d.running.Wait()
	d.cancel()
	return nil
}

// runSession opens a session and reads it to its end; in a storm again and again.
func (d *streams) runSession(id int) {
	finish := sync.OnceFunc(d.run.finished)
	defer finish()
	if d.run.o.Mode != Storm {
		s, f := d.connect(id, finish)
		d.run.opened()
		if s != nil && f == nil {
			f = s.relay()
		}
		d.end(s, f)
		return
	}
	for d.run.current() < stageStop && d.run.tickets.Add(-1) >= 0 {
		s, f := d.connect(id, finish)
		d.end(s, f)
		if f == nil {
			continue
		}
		select {
		case <-time.After(retryPause):
		case <-d.stopping:
		}
	}
}

// end closes a session's connection, if there is one, and counts its fault, if there is one.
func (d *streams) end(s *stream, f *fault) {
	d.recorder.mu.Lock()
	defer d.recorder.mu.Unlock()
	if s != nil {
		if tcp, ok := underlying(s.conn).(*net.TCPConn); ok && s.state != stateOver {
			_ = tcp.SetLinger(0) // as the loops do
		}
		_ = underlying(s.conn).Close()
	}
	switch {
	case f == nil:
	case f.kind == "lost":
		d.recorder.fail(f, s.traffic.missing())
	default:
		d.recorder.fail(f, 1)
	}
}

// stream is a session with its connection.
type stream struct {
	driver  *streams
	conn    net.Conn
	kick    chan struct{} // size 1: there may be something to send
	finish  func()        // counts the session as done, once
	session               // guarded by the driver's recorder.mu; carry is owned by the reading goroutine
	stage   stage         // guarded by recorder.mu: the last one entered
}

// connect dials and does the handshake. If the run has ended meanwhile, it returns neither a stream nor a fault.
func (d *streams) connect(id int, finish func()) (*stream, *fault) {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-d.stopping:
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(d.ctx, openLimit)
	defer cancel()
	started := d.run.now()
	var conn net.Conn
	var err error
	if d.muxes != nil {
		conn, err = d.muxes.connect(ctx)
	} else {
		conn, err = d.dialSocket(ctx)
	}
	if err != nil {
		if d.ctx.Err() != nil {
			return nil, nil
		}
		return nil, faultf("connect", "%v", err)
	}
	s := &stream{driver: d, conn: conn, kick: make(chan struct{}, 1), finish: finish}
	s.session = newSession(d.run.target, d.run.newTraffic(d.recorder, id), d.recorder, started)
	return s, s.shakeHands()
}

// dialSocket connects, with TLS if the target has it.
func (d *streams) dialSocket(ctx context.Context) (net.Conn, error) {
	conn, err := d.dial(ctx)
	if err != nil || d.run.target.tls == nil {
		return conn, err
	}
	tlsConn := tls.Client(conn, d.run.target.tls)
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS handshake with %s: %w", d.run.target.addr, err)
	}
	return tlsConn, nil
}

func (d *streams) dial(ctx context.Context) (net.Conn, error) {
	for {
		from := source(d.source.Load())
		var dialer net.Dialer
		if from > 0 {
			dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from.addr(), 0))
		}
		conn, err := dialer.DialContext(ctx, "tcp", d.run.target.addr.String())
		if !from.hasNext(d.run.target.addr, err) {
			return conn, err
		}
		d.source.CompareAndSwap(int64(from), int64(from)+1)
	}
}

func (s *stream) shakeHands() *fault {
	_ = s.conn.SetDeadline(time.Now().Add(openLimit))
	if m, isStream := s.conn.(*muxStream); isStream {
		status, err := m.opened()
		if err != nil {
			return s.lost(err)
		}
		if status != 200 {
			return faultf(fmt.Sprintf("status_%d", status), "the answer has the status %d", status)
		}
		s.accepted()
		_ = s.conn.SetDeadline(time.Time{})
		return nil
	}
	if _, err := s.conn.Write(s.out); err != nil {
		return s.lost(err)
	}
	s.out = nil
	buf := make([]byte, maxAnswer+streamBuffer)
	for at := stateHead; at == stateHead; {
		carried := copy(buf, s.carry)
		n, err := s.conn.Read(buf[carried:])
		if err != nil {
			return s.lost(err)
		}
		var f *fault
		if at, f = s.take(buf[:carried+n]); f != nil {
			return f
		}
	}
	_ = s.conn.SetDeadline(time.Time{})
	return nil
}

// accepted opens a session whose handshake is HTTP/2's.
func (s *stream) accepted() {
	d := s.driver
	d.recorder.mu.Lock()
	defer d.recorder.mu.Unlock()
	s.out = nil
	s.open(d.run.now())
}

// take passes the bytes read to the session and returns the session's state.
func (s *stream) take(p []byte) (sessionState, *fault) {
	d := s.driver
	d.recorder.mu.Lock()
	defer d.recorder.mu.Unlock()
	f := s.receive(d.run.now(), p)
	s.settle()
	return s.state, f
}

// settle wakes the writing goroutine, and counts a session that is done. The caller holds recorder.mu.
func (s *stream) settle() {
	if s.traffic != nil && s.state == stateOpen && s.traffic.isDone() {
		s.finish()
		if s.stage >= stageStop {
			s.close()
			_ = s.conn.SetReadDeadline(time.Now().Add(closeLimit))
		}
	}
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// enter applies the run's stage. The caller holds recorder.mu.
func (s *stream) enter(to stage, now time.Duration) {
	from := s.stage
	s.stage = to
	if from < stageBegin && to >= stageBegin {
		s.traffic.begin(now)
	}
	if from < stageStop && to >= stageStop {
		s.traffic.stop(now)
	}
	if to == stageEnd {
		_ = s.conn.SetDeadline(time.Now())
	}
	s.settle()
}

// relay reads until the end of the session, while a second goroutine writes.
func (s *stream) relay() *fault {
	d := s.driver
	d.recorder.mu.Lock()
	d.sessions[s] = struct{}{}
	s.enter(d.run.current(), d.run.now())
	d.recorder.mu.Unlock()

	over := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() { s.write(over) })
	f := s.read()
	close(over)
	_ = s.conn.SetWriteDeadline(time.Now())
	writer.Wait()

	d.recorder.mu.Lock()
	defer d.recorder.mu.Unlock()
	delete(d.sessions, s)
	return f
}

func (s *stream) read() *fault {
	buf := make([]byte, streamBuffer)
	for at := stateOpen; ; {
		carried := copy(buf, s.carry)
		n, err := s.conn.Read(buf[carried:])
		if at == stateOver && err != nil {
			return nil // RFC 6455 section 7.1.1: the server ends the connection first
		}
		if err != nil {
			return s.lost(err)
		}
		var f *fault
		if at, f = s.take(buf[:carried+n]); f != nil {
			return f
		}
	}
}

// write sends what the session wants to send until over is closed.
func (s *stream) write(over <-chan struct{}) {
	d := s.driver
	buf := make([]byte, 0, streamBuffer)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		d.recorder.mu.Lock()
		now := d.run.now()
		// The bytes may change after the lock is released.
		p := s.pending(now)
		buf = append(buf[:0], p[:min(len(p), streamBuffer)]...)
		var due time.Duration
		if len(buf) > 0 {
			s.advance(now, len(buf))
			if s.traffic.isDone() {
				s.settle()
			}
		} else {
			due = s.traffic.due()
		}
		d.recorder.mu.Unlock()
		if len(buf) > 0 {
			if _, err := s.conn.Write(buf); err != nil {
				return // the reading goroutine returns the reason
			}
			continue
		}
		wake := time.Hour
		if due > 0 {
			wake = max(0, due-now)
		}
		timer.Reset(wake)
		select {
		case <-s.kick:
		case <-timer.C:
		case <-over:
			return
		}
	}
}

// lost returns the fault of a connection that the server ended, or that the end of the run ended.
func (s *stream) lost(err error) *fault {
	s.driver.recorder.mu.Lock()
	defer s.driver.recorder.mu.Unlock()
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		if s.traffic != nil && s.traffic.missing() > 0 && s.stage == stageEnd {
			return faultf("lost", "%d messages never came back", s.traffic.missing())
		}
		return faultf("timeout", "nothing from the server: %v", err)
	default:
		return s.session.lost(err)
	}
}

// underlying returns the socket of a TLS connection.
func underlying(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}
