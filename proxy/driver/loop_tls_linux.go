package driver

import (
	"crypto/tls"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// crypto/tls in a loop. A side's tls.Conn lies above a Switch, whose feed is the loop's:
//
//	socket → tlsMemory.records → whole records lent to tls.Conn → Read → loop.buf → receive
//	batch → Write → feed.out → the batch again, now records → send, or the queue
//
// The engine sees plaintext, except in the queue, where records wait.

// A secureSocket is the transport of a side with TLS. Owned by the loop goroutine.
type secureSocket struct {
	*socket
	loop     *loop
	conn     *tls.Conn
	part     *record // the beginning of a record that hasn't come whole
	partSize int32   // bytes in part
	keys     keyChanges
	slot     uint32
	side     relay.Side
	isEnding bool // the stream ends after close_notify, which may wait in the side's queue
}

// tlsMemory is what a loop has for TLS, nil before its first session with it.
type tlsMemory struct {
	records [maxRecordBytes + readBytes]byte // for reading, after room for a part
	joined  []byte                           // a batch of several spans
	feed    [2]feed                          // by side
}

// mostKept is how much memory for writing a loop keeps. Only pongs ever need more.
const mostKept = 2 * readBytes

// addTLS gives a side of a slot a connection above its socket.
func (l *loop) addTLS(s slot, side relay.Side, conn *tls.Conn) {
	if l.tls == nil {
		l.tls = new(tlsMemory)
	}
	s.secure[side] = &secureSocket{socket: &s.socket[side], loop: l, conn: conn, slot: s.index, side: side}
	switchBelow(conn).feed = &l.tls.feed[side]
}

// tlsConns returns the connections that addTLS was given, by side.
func (s slot) tlsConns() (conns [2]*tls.Conn) {
	for side, c := range s.secure {
		if c != nil {
			conns[side] = c.conn
		}
	}
	return conns
}

// startTLS processes what the connections of a session have read already.
func (l *loop) startTLS(s slot, x *session) {
	for side, c := range s.secure {
		if c != nil {
			from := relay.Side(side)
			l.readFrom(leftover{c}, x, from, readBytes-relay.MaxCarry)
			c.keepPart()
			l.send(x, from.Other()) // what was opened lies in memory that the other side's needs
		}
	}
}

// leftover reads what a connection has inside.
type leftover struct{ *secureSocket }

func (c leftover) read(buf []byte) (n int, err error) { return c.open(nil, buf) }

// feed returns the connection's feed, in the loop's memory.
func (c *secureSocket) feed() *feed { return &c.loop.tls.feed[c.side] }

// keepPart takes the beginning of a record out of the connection's own buffer.
func (c *secureSocket) keepPart() {
	if c.loop.lends {
		raw := rawInputOf(c.conn)
		c.setPart(raw.Bytes())
		raw.Reset()
		releaseBuffers(c.conn)
	}
}

// setPart keeps the beginning of a record.
func (c *secureSocket) setPart(p []byte) {
	if c.partSize = int32(len(p)); len(p) == 0 {
		if c.part != nil {
			c.loop.pools.records.Put(c.part)
			c.part = nil
		}
		return
	}
	if c.part == nil {
		c.part = c.loop.pools.records.Get().(*record)
	}
	copy(c.part[:], p)
}

// read implements reader: it reads records, and opens those that have come whole.
func (c *secureSocket) read(buf []byte) (n int, err error) {
	k, in := int(c.partSize), &c.loop.tls.records
	// A part counts as read now: also the one that crypto/tls keeps itself if the loop lends it nothing.
	n, err = epoll.Read(int(c.fd), in[maxRecordBytes:][:len(buf)-maxRecordBytes])
	if err != nil {
		return 0, err // io.EOF is an end without close_notify: whether it cut something off shows in the frames
	}
	if k > 0 {
		copy(in[maxRecordBytes-k:], c.part[:k])
	}
	p := in[maxRecordBytes-k : maxRecordBytes+n]
	whole := len(p)
	if c.loop.lends {
		whole = wholeRecords(p)
	}
	c.setPart(p[whole:])
	if whole == 0 {
		return 0, nil
	}
	return c.open(p[:whole], buf)
}

// wholeRecords returns how many of the bytes are whole records. What can't be a record counts as whole: crypto/tls refuses it, and sends
// the alert.
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

// open decrypts records, after what the connection has inside already. io.EOF means close_notify.
func (c *secureSocket) open(records, buf []byte) (n int, err error) {
	feed := c.feed()
	isLent := c.loop.lends && len(records) > 0
	if isLent {
		lend(c.conn, records)
	} else {
		feed.in = records
	}
	for err == nil {
		var m int
		m, err = c.conn.Read(buf[n:])
		n += m
		if c.keys.areTooMany(c.conn, c.loop.env.Now) {
			err = errKeyUpdates
		}
		if isLent && err == nil && rawInputOf(c.conn).Len() == 0 {
			break // another Read would return errNothing
		}
	}
	feed.in = nil
	if isLent {
		if err != nil && err != errNothing {
			rawInputOf(c.conn).Reset() // nothing more of the side is read
		}
		releaseBuffers(c.conn)
	}
	if len(feed.out) > 0 {
		c.loop.out[c.side].due = len(feed.out)
	}
	if err == errNothing {
		err = errAgain
	}
	return n, err
}

// seal implements transport: the batch becomes records, after what crypto/tls has to say itself (RFC 8446 section 4.6.3: the answer to a
// KeyUpdate).
func (c *secureSocket) seal(b *batch, isWritable bool) error {
	feed := c.feed()
	if !isWritable {
		feed.out = feed.out[:0]
		return nil
	}
	if b.n > 0 {
		p := b.spans[0]
		if len(b.spans) > 1 {
			// One record costs less than several, for both ends.
			p = c.loop.tls.joined[:0]
			for _, span := range b.spans {
				p = append(p, span...)
			}
			c.loop.tls.joined = kept(p)
		}
		if _, err := c.conn.Write(p); err != nil {
			feed.out = feed.out[:0]
			return err
		}
	}
	b.reset()
	b.own, feed.out = feed.out, kept(b.own) // each has the other's memory now: what was in the batch is sealed
	b.pass(b.own)
	return nil
}

// kept returns p's memory, empty, for the next use; nil if it is too large.
func kept(p []byte) []byte {
	if cap(p) > mostKept {
		return nil
	}
	return p[:0]
}

// notify implements transport: close_notify.
func (c *secureSocket) notify() {
	alert := c.sendNotify()
	if len(alert) == 0 {
		return
	}
	l, x := c.loop, c.loop.slots.at(c.slot).session()
	l.acquirePending(&x).queue[c.side].append(l.pools, alert)
	l.queued.Add(int64(len(alert)))
}

// shut implements transport: close_notify, then the socket's end.
func (c *secureSocket) shut() {
	c.isEnding = true
	c.notify()
	if c.loop.slots.at(c.slot).pending.waiting(c.side) == 0 {
		c.socket.shut()
	}
}

// sendNotify sends close_notify and returns what the socket doesn't accept of it.
func (c *secureSocket) sendNotify() (left []byte) {
	feed := c.feed()
	feed.out = feed.out[:0]
	_ = c.conn.CloseWrite() // an error means that close_notify was sent already
	left = feed.out
	if len(left) > 0 {
		n, _ := epoll.Write(int(c.fd), left)
		left = left[n:]
	}
	feed.out = feed.out[:0]
	return left
}

// goOnEnding sends more of close_notify, and then ends the stream if it is to end.
func (c *secureSocket) goOnEnding() {
	l, p := c.loop, c.loop.slots.at(c.slot).pending
	if p == nil {
		return
	}
	q := &p.queue[c.side]
	for q.n > 0 {
		n, err := epoll.Write(int(c.fd), q.slices(nil, 1)[0])
		if err == unix.EAGAIN {
			return
		}
		if err != nil {
			n = q.n // a peer that hung up needs no notice
		}
		q.drop(l.pools, n)
		l.queued.Add(-int64(n))
	}
	if c.isEnding {
		c.socket.shut()
	}
}

// close implements transport: the peer is sent close_notify.
func (c *secureSocket) close() {
	if c.fd >= 0 {
		c.sendNotify()
	}
	c.forget().close()
}

// cut implements transport.
func (c *secureSocket) cut() { c.forget().cut() }

// forget drops the connection and what is kept for it, and returns its socket.
func (c *secureSocket) forget() *socket {
	c.feed().out = c.feed().out[:0]
	c.setPart(nil)
	below := c.socket
	*c = secureSocket{}
	return below
}
