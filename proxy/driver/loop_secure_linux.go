package driver

import (
	"crypto/tls"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
	"sluice/tls/record"
)

// TLS in a loop. The engine sees plaintext, except in the queue, where records wait:
//
//	socket → tlsMemory.records → open → loop.buf → receive
//	batch → seal → the batch again, now records → send, or the queue
//
// A session of TLS 1.3 has the records of package record (loop_records_linux.go), any other one a tls.Conn (loop_tls_linux.go).

// secured is what a side with TLS keeps while nothing of it is on its way. It has no pointers, and lies in slabs as hot does.
type secured struct {
	records  record.Conn
	keys     keyChanges
	partSize int32        // bytes in pending.part: the beginning of a record that hasn't come whole
	isEnding bool         // the stream ends after the alert, which may wait in the side's queue
	alert    record.Alert // that the stream ends with
}

// tlsMemory is what a loop has for TLS, nil before its first session with it.
type tlsMemory struct {
	records  [maxRecordBytes + readBytes]byte // for reading, after room for a part
	sides    [2]secureSocket
	layer    *record.Layer
	sealed   []byte  // records that seal makes
	joined   []byte  // for crypto/tls: a batch of several spans
	feed     [2]feed // for crypto/tls, by side
	secureds []*[slabSize]secured
	free     []uint32
}

// mostKept is how much memory for writing a loop keeps. Only pongs ever need more.
const mostKept = 2 * readBytes

// A secureSocket is the transport of a side with TLS. A loop has one for each side, which is that of the slot it works on. Owned by the loop
// goroutine.
type secureSocket struct {
	*socket
	*secured
	loop *loop
	slot slot
	side relay.Side
}

// addTLS gives a side of a slot a connection above its socket.
func (l *loop) addTLS(s slot, side relay.Side, conn *tls.Conn) {
	l.addSecured(s, side)
	s.conn[side] = &cryptoTLS{Conn: conn}
	switchBelow(conn).feed = &l.tls.feed[side]
}

// addSecured gives a side of a slot the state of TLS, which is zero.
func (l *loop) addSecured(s slot, side relay.Side) {
	if l.tls == nil {
		l.tls = &tlsMemory{layer: record.NewLayer()}
	}
	m := l.tls
	if len(m.free) == 0 {
		base := uint32(len(m.secureds) * slabSize)
		m.secureds = append(m.secureds, newSlab[secured]())
		for i := uint32(slabSize); i > 0; i-- {
			m.free = append(m.free, base+i)
		}
	}
	last := len(m.free) - 1
	s.secured[side] = m.free[last]
	m.free = m.free[:last]
}

// secure returns the transport of a side with TLS. It is valid until the loop works on another slot.
func (l *loop) secure(s slot, side relay.Side) *secureSocket {
	at := s.secured[side] - 1
	c := &l.tls.sides[side]
	*c = secureSocket{&s.socket[side], &l.tls.secureds[at/slabSize][at%slabSize], l, s, side}
	return c
}

// removeTLS drops what a side has of TLS, if it has any.
func (l *loop) removeTLS(s slot, side relay.Side) {
	index := s.secured[side]
	if index == 0 {
		return
	}
	c := l.secure(s, side)
	c.feed().out = c.feed().out[:0]
	c.setPart(nil)
	l.tls.layer.Forget(&c.records)
	*c.secured = secured{}
	s.secured[side], s.conn[side] = 0, nil
	l.tls.free = append(l.tls.free, index)
}

// tlsConns returns the connections that addTLS was given, by side, before startTLS.
func (s slot) tlsConns() (conns [2]*tls.Conn) {
	for side, c := range s.conn {
		if c != nil {
			conns[side] = c.Conn
		}
	}
	return conns
}

// startTLS processes what the connections of a session have read already.
func (l *loop) startTLS(s slot, x *session) {
	for side := relay.Client; side <= relay.Backend; side++ {
		if s.secured[side] != 0 {
			c := l.secure(s, side)
			l.readFrom(leftover{c}, x, side, readBytes-relay.MaxCarry)
			l.send(x, side.Other()) // what was opened lies in memory that the other side's needs
		}
	}
}

// leftover reads what a connection has inside.
type leftover struct{ *secureSocket }

func (c leftover) read(buf []byte) (n int, err error) {
	if c.loop.takesRecords {
		if n, err, isTaken := c.take(buf); isTaken {
			return n, err
		}
	}
	n, err = c.openByCryptoTLS(nil, buf)
	c.keepPart()
	return n, err
}

// setPart keeps the beginning of a record.
func (c *secureSocket) setPart(p []byte) {
	c.partSize = int32(len(p))
	if len(p) > 0 {
		x := session{pending: &c.slot.pending}
		part := &c.loop.acquirePending(&x).part[c.side]
		if *part == nil {
			*part = c.loop.pools.records.Get().(*recordBuffer)
		}
		copy((*part)[:], p)
	} else if pending := c.slot.pending; pending != nil && pending.part[c.side] != nil {
		c.loop.pools.records.Put(pending.part[c.side])
		pending.part[c.side] = nil
	}
}

// read implements reader: it reads records, and opens those that have come whole.
func (c *secureSocket) read(buf []byte) (n int, err error) {
	in := &c.loop.tls.records
	// A part counts as read now: also the one that crypto/tls keeps itself if the loop lends it nothing.
	n, err = epoll.Read(int(c.fd), in[maxRecordBytes:][:len(buf)-maxRecordBytes])
	if err != nil {
		return 0, err // io.EOF is an end without close_notify: whether it cut something off shows in the frames
	}
	k := int(c.partSize)
	if k > 0 {
		copy(in[maxRecordBytes-k:], c.slot.pending.part[c.side][:k])
	}
	p := in[maxRecordBytes-k : maxRecordBytes+n]
	if c.slot.conn[c.side] == nil {
		return c.open(p, buf[:0])
	}
	whole := len(p)
	if c.loop.lends {
		whole = wholeRecords(p)
	}
	c.setPart(p[whole:])
	if whole == 0 {
		return 0, nil
	}
	return c.openByCryptoTLS(p[:whole], buf)
}

// seal implements transport: the batch becomes records.
func (c *secureSocket) seal(b *batch, isWritable bool) error {
	if c.slot.conn[c.side] != nil {
		return c.sealByCryptoTLS(b, isWritable)
	}
	if isWritable {
		m := c.loop.tls
		c.keys.earn((b.n + record.MaxContent - 1) / record.MaxContent)
		// In one step: what is in m.sealed would go to the session that is next after a panic.
		m.sealed = b.replace(m.layer.Seal(&c.records, m.sealed, b.spans))
	}
	return nil
}

// replace makes a batch consist of records, and returns the memory of what they have replaced, empty.
func (b *batch) replace(records []byte) []byte {
	b.reset()
	free := kept(b.own)
	b.own = records
	b.pass(records)
	return free
}

// kept returns p's memory, empty, for the next use; nil if it is too large.
func kept(p []byte) []byte {
	if cap(p) > mostKept {
		return nil
	}
	return p[:0]
}

// notify implements transport: the alert that ends the stream, close_notify or that of a fault.
func (c *secureSocket) notify() {
	alert := c.sendAlert()
	if len(alert) == 0 {
		return
	}
	l, x := c.loop, session{pending: &c.slot.pending}
	l.acquirePending(&x).queue[c.side].append(l.pools, alert)
	l.queued.Add(int64(len(alert)))
}

// shut implements transport: the alert, then the socket's end.
func (c *secureSocket) shut() {
	c.isEnding = true
	c.notify()
	if c.slot.pending.waiting(c.side) == 0 {
		c.socket.shut()
	}
}

// sendAlert sends the alert that ends the stream, and returns what the socket doesn't accept of it.
func (c *secureSocket) sendAlert() (left []byte) {
	if conn := c.slot.conn[c.side]; conn != nil {
		left = c.alertOfCryptoTLS(conn)
	} else {
		left = c.loop.tls.layer.Alert(&c.records, nil, c.alert)
	}
	if len(left) > 0 {
		n, _ := epoll.Write(int(c.fd), left)
		left = left[n:]
	}
	return left
}

// goOnEnding sends more of the alert, and then ends the stream if it is to end.
func (c *secureSocket) goOnEnding() {
	l, p := c.loop, c.slot.pending
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

// close implements transport: the peer is sent the alert.
func (c *secureSocket) close() {
	if c.fd >= 0 {
		c.sendAlert()
	}
	c.socket.close()
}
