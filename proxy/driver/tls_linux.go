package driver

import (
	"crypto/tls"
	"encoding/binary"
	"io"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// crypto/tls in a loop. A side's tls.Conn lies above a Switch, whose feed is the loop's:
//
//	socket → l.records → whole records lent to tls.Conn → Read → l.buf → receive
//	batch → Write → feed.out → the batch again, now records → send, or the queue
//
// Everything that the loop knows of the stream is plaintext, but for what waits in the queue.

// secure is what a session has for TLS. Owned by the loop goroutine.
type secure struct {
	conn     [2]*tls.Conn // nil: the side has no TLS
	part     [2]*record   // the beginning of a record that hasn't come whole
	partSize [2]int32     // bytes in part
	isEnding bool         // behind the client's queue its stream ends
}

func (*secure) isTransport() {}

// tlsMemory is what a loop has for TLS, nil before its first session with it.
type tlsMemory struct {
	records [maxRecordBytes + readBytes]byte // what is read, behind room for a part
	joined  []byte                           // a batch of several spans
	feed    [2]feed                          // by side
}

// mostKept is how much memory for what is written a loop keeps: more is rare, being nothing but pongs.
const mostKept = 2 * readBytes

// isSecure tells whether a side has TLS.
func (s slot) isSecure(side relay.Side) bool {
	c := s.secure()
	return c != nil && c.conn[side] != nil
}

// feedTLS gives the connections of a slot their feeds.
func (l *loop) feedTLS(s slot) {
	if l.tls == nil {
		l.tls = new(tlsMemory)
	}
	for side, conn := range s.secure().conn {
		if conn != nil {
			switchBelow(conn).feed = &l.tls.feed[side]
		}
	}
}

// beginTLS is the beginning of a session with TLS: it takes what the connections have read already.
func (l *loop) beginTLS(s slot) {
	l.feedTLS(s)
	for side, conn := range s.secure().conn {
		if conn != nil {
			l.open(s, relay.Side(side), nil)
			l.keepPart(s, relay.Side(side))
			l.flush(s, relay.Side(side).Other()) // what was opened lies in memory that the other side's needs
		}
	}
}

// keepPart takes the beginning of a record out of a connection's own buffer.
func (l *loop) keepPart(s slot, side relay.Side) {
	if conn := s.secure().conn[side]; conn != nil && l.lends {
		raw := rawInputOf(conn)
		l.setPart(s.secure(), side, raw.Bytes())
		raw.Reset()
		giveUpBuffers(conn)
	}
}

// setPart keeps the beginning of a record.
func (l *loop) setPart(c *secure, side relay.Side, p []byte) {
	if c.partSize[side] = int32(len(p)); len(p) == 0 {
		if c.part[side] != nil {
			l.pools.records.Put(c.part[side])
			c.part[side] = nil
		}
		return
	}
	if c.part[side] == nil {
		c.part[side] = l.pools.records.Get().(*record)
	}
	copy(c.part[side][:], p)
}

// readTLS is read for a side with TLS.
func (l *loop) readTLS(s slot, from relay.Side) {
	k, in := int(s.secure().partSize[from]), &l.tls.records
	// A part, which an unknown crypto/tls keeps itself, counts as read now.
	n, err := epoll.Read(int(s.fd[from]), in[maxRecordBytes:][:s.readLimit(from)-maxRecordBytes])
	switch err {
	case nil:
	case unix.EAGAIN:
		return
	case io.EOF:
		s.core.Ended(&l.env, from) // with close_notify or without: what was cut off, the frames tell
		return
	default:
		s.core.Lost(&l.env, from)
		return
	}
	if k > 0 {
		copy(in[maxRecordBytes-k:], s.secure().part[from][:k])
	}
	p := in[maxRecordBytes-k : maxRecordBytes+n]
	whole := len(p)
	if l.lends {
		whole = wholeRecords(p)
	}
	l.setPart(s.secure(), from, p[whole:])
	if whole > 0 {
		l.open(s, from, p[:whole])
	}
}

// wholeRecords returns how many of the bytes are records that have come whole. What can't be one counts as whole: crypto/tls refuses
// it, and sends the alert.
func wholeRecords(p []byte) (n int) {
	for len(p)-n >= recordHeader {
		size := recordHeader + int(binary.BigEndian.Uint16(p[n+3:]))
		if size > maxRecordBytes {
			return len(p)
		}
		if len(p)-n < size {
			break
		}
		n += size
	}
	return n
}

// open takes records of a side, and what its connection has inside already.
func (l *loop) open(s slot, from relay.Side, records []byte) {
	conn, feed := s.secure().conn[from], &l.tls.feed[from]
	isLent := l.lends && len(records) > 0
	if isLent {
		lend(conn, records)
	} else {
		feed.in = records
	}
	k := carried(s.rare, from, l.buf)
	n := k
	var err error
	for err == nil {
		var m int
		m, err = conn.Read(l.buf[n:])
		n += m
		if isLent && err == nil && rawInputOf(conn).Len() == 0 {
			break // nothing is inside: another Read would only say so
		}
	}
	feed.in = nil
	if isLent {
		if err != nil && err != errNothing {
			rawInputOf(conn).Reset() // nothing more of the side is read
		}
		giveUpBuffers(conn)
	}
	if n > k {
		l.receive(&s.core, &s.rare, from, l.buf[:n])
	}
	switch err {
	case nil, errNothing:
	case io.EOF: // close_notify
		s.core.Ended(&l.env, from)
	default:
		s.core.Lost(&l.env, from)
	}
}

// seal turns the batch for a side into records, behind what crypto/tls has to say itself (RFC 8446 section 4.6.3: the answer to a
// KeyUpdate). false: there is nothing to send.
func (l *loop) seal(s slot, to relay.Side) bool {
	b, feed := &l.out[to], &l.tls.feed[to]
	if b.n > 0 && s.core.IsWritable(to) {
		p := b.spans[0]
		if len(b.spans) > 1 {
			// One record costs less than several, for both ends.
			p = l.tls.joined[:0]
			for _, span := range b.spans {
				p = append(p, span...)
			}
			l.tls.joined = kept(p)
		}
		if _, err := s.secure().conn[to].Write(p); err != nil {
			feed.out = feed.out[:0]
			b.reset()
			l.writeFailed(s, to)
			return false
		}
	}
	b.reset()
	if len(feed.out) == 0 {
		return false
	}
	b.pass(feed.out)
	return true
}

// sealed ends what seal began: the records are sent, or wait.
func (l *loop) sealed(to relay.Side) {
	feed := &l.tls.feed[to]
	feed.out = kept(feed.out)
}

// kept returns memory for the next time, empty.
func kept(p []byte) []byte {
	if cap(p) > mostKept {
		return nil
	}
	return p[:0]
}

// shutTLS ends the client's stream: close_notify, then the socket's end.
func (l *loop) shutTLS(s slot) {
	alert := l.notify(s, relay.Client)
	if len(alert) == 0 {
		_ = unix.Shutdown(int(s.fd[relay.Client]), unix.SHUT_WR)
		return
	}
	l.rareOf(&s.rare).queue[relay.Client].append(l.pools, alert)
	l.queued.Add(int64(len(alert)))
	s.secure().isEnding = true
}

// notify sends close_notify and returns what the socket doesn't take of it.
func (l *loop) notify(s slot, side relay.Side) (left []byte) {
	feed := &l.tls.feed[side]
	feed.out = feed.out[:0]
	_ = s.secure().conn[side].CloseWrite() // it fails if it was sent already
	left = feed.out
	if len(left) > 0 {
		n, _ := epoll.Write(int(s.fd[side]), left)
		left = left[n:]
	}
	feed.out = feed.out[:0]
	return left
}

// finish goes on with the end of the client's stream.
func (l *loop) finish(s slot) {
	q := &s.rare.queue[relay.Client]
	for q.n > 0 {
		n, err := epoll.Write(int(s.fd[relay.Client]), q.slices(nil, 1)[0])
		if err == unix.EAGAIN {
			return
		}
		if err != nil {
			n = q.n // whoever hung up needs no notice
		}
		q.drop(l.pools, n)
		l.queued.Add(-int64(n))
	}
	s.secure().isEnding = false
	_ = unix.Shutdown(int(s.fd[relay.Client]), unix.SHUT_WR)
}

// endTLS forgets a side's connection, whose socket is about to be closed. Unless it is cut, the peer is told.
func (l *loop) endTLS(s slot, side relay.Side, isCut bool) {
	if !isCut {
		l.notify(s, side)
	}
	l.tls.feed[side].out = l.tls.feed[side].out[:0]
	l.setPart(s.secure(), side, nil)
	s.secure().conn[side] = nil
}
