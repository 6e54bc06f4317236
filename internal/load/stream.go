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

// streamBuffer is what each session reads into, and sends at most at once: a TLS record.
const streamBuffer = 16 << 10

// streams is the driver of two goroutines a session: for TLS, and for systems without epoll.
type streams struct {
	run      *run
	recorder *recorder     // its lock is that of all sessions
	slots    chan struct{} // one for each session that may be opening
	asked    int
	ctx      context.Context // ends at stageEnd
	cancel   context.CancelFunc
	stopping chan struct{} // closed at stageStop
	running  sync.WaitGroup
	source   atomic.Int64 // a source: the one whose ports are being used

	members map[*stream]struct{} // guarded by recorder.mu: the sessions that are open
}

func newStreams(r *run) *streams {
	d := &streams{run: r, recorder: newRecorder(), slots: make(chan struct{}, maxOpening), stopping: make(chan struct{}), members: map[*stream]struct{}{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	r.recorders = []*recorder{d.recorder}
	return d
}

func (d *streams) open(count int) {
	for id := d.asked; id < d.asked+count; id++ {
		d.running.Go(func() { d.runSession(id) })
	}
	d.asked += count
}

func (d *streams) enter() {
	s := d.run.current()
	if s == stageStop {
		close(d.stopping)
	}
	if s == stageEnd {
		d.cancel()
	}
	d.recorder.mu.Lock()
	defer d.recorder.mu.Unlock()
	for m := range d.members {
		m.enter(s, d.run.now())
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
	session               // guarded by the driver's recorder.mu; carry is the reading goroutine's
	stage   stage         // guarded as the session is: the last one entered
}

// connect dials and shakes hands. No stream and no fault is a run that has ended meanwhile.
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
	conn, err := d.dial(ctx)
	if err == nil && d.run.target.tls != nil {
		tlsConn := tls.Client(conn, d.run.target.tls)
		if err = tlsConn.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			err = fmt.Errorf("TLS handshake with %s: %w", d.run.target.addr, err)
		}
		conn = tlsConn
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

// take hands what was read to the session and returns that one's state.
func (s *stream) take(p []byte) (sessionState, *fault) {
	d := s.driver
	d.recorder.mu.Lock()
	defer d.recorder.mu.Unlock()
	f := s.receive(d.run.now(), p)
	s.settle()
	return s.state, f
}

// settle has the writing goroutine look, and counts a session that is done. With the lock held.
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

// enter takes the run's stage. With the lock held.
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

// relay reads to the end of the session, beside a goroutine that writes.
func (s *stream) relay() *fault {
	d := s.driver
	d.recorder.mu.Lock()
	d.members[s] = struct{}{}
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
	delete(d.members, s)
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
		// The bytes are another's once the lock is given back.
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
				return // the reading goroutine sees why
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

// lost is the fault of a connection that ends by itself, or at the run's end.
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
