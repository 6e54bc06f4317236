package driver

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
)

// crypto/tls in a loop. A side's tls.Conn lies above a Switch, whose feed is the loop's:
//
//	whole records lent to tls.Conn → Read
//	Write → feed.out

// cryptoTLS is a connection whose records crypto/tls opens and seals.
type cryptoTLS struct {
	*tls.Conn
	secret peerSecret
	alert  []byte // of a fault: the record that the stream ends with
}

// feed returns the connection's feed, in the loop's memory.
func (c *secureSocket) feed() *feed { return &c.loop.tls.feed[c.side] }

// keepPart takes the beginning of a record out of the connection's own buffer.
func (c *secureSocket) keepPart() {
	if conn := c.slot.conn[c.side].Conn; c.loop.lends {
		raw := rawInputOf(conn)
		c.setPart(raw.Bytes())
		raw.Reset()
		releaseBuffers(conn)
	}
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

// openByCryptoTLS decrypts records, after what the connection has inside already. io.EOF means close_notify.
func (c *secureSocket) openByCryptoTLS(records, buf []byte) (n int, err error) {
	conn, feed := c.slot.conn[c.side], c.feed()
	isLent := c.loop.lends && len(records) > 0
	if isLent {
		lend(conn.Conn, records)
	} else {
		feed.in = records
	}
	for err == nil {
		var m int
		m, err = conn.Read(buf[n:])
		n += m
		if conn.secret.hasChanged(conn.Conn) && c.keys.add(c.loop.env.Now) {
			err = errKeyUpdates
		}
		if isLent && err == nil && rawInputOf(conn.Conn).Len() == 0 {
			break // another Read would return errNothing
		}
	}
	feed.in = nil
	if isLent {
		if err != nil && err != errNothing {
			rawInputOf(conn.Conn).Reset() // nothing more of the side is read
		}
		releaseBuffers(conn.Conn)
	}
	switch {
	case err == errNothing:
		err = errAgain
	case isFault(err):
		conn.alert, feed.out = bytes.Clone(feed.out), feed.out[:0]
		err = errTLS
	}
	if len(feed.out) > 0 {
		c.loop.out[c.side].due = len(feed.out)
	}
	return n, err
}

// sealByCryptoTLS makes records of the batch, after what crypto/tls has to say itself (RFC 8446 section 4.6.3: the answer to a KeyUpdate).
func (c *secureSocket) sealByCryptoTLS(b *batch, isWritable bool) error {
	m, feed := c.loop.tls, c.feed()
	if !isWritable {
		feed.out = feed.out[:0]
		return nil
	}
	if b.n > 0 {
		p := b.spans[0]
		if len(b.spans) > 1 {
			// One record costs less than several, for both ends.
			p = m.joined[:0]
			for _, span := range b.spans {
				p = append(p, span...)
			}
			m.joined = kept(p)
		}
		if _, err := c.slot.conn[c.side].Write(p); err != nil {
			feed.out = feed.out[:0]
			return err
		}
	}
	feed.out = b.replace(feed.out)
	return nil
}

// alertOfCryptoTLS returns the alert that ends the stream, unless it was returned before.
func (c *secureSocket) alertOfCryptoTLS(conn *cryptoTLS) (alert []byte) {
	if alert, conn.alert = conn.alert, nil; len(alert) > 0 {
		return alert
	}
	feed := c.feed()
	feed.out = feed.out[:0]
	_ = conn.CloseWrite() // an error means that an alert was sent already
	alert, feed.out = bytes.Clone(feed.out), feed.out[:0]
	return alert
}
