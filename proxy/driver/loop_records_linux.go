package driver

import (
	"sluice/tls/record"
)

// take replaces the side's tls.Conn by the records of package record, and opens what the tls.Conn has read already. isTaken: it could.
func (c *secureSocket) take(buf []byte) (n int, err error, isTaken bool) {
	conn, content, records, isTaken := record.Take(c.slot.conn[c.side].Conn)
	if !isTaken {
		return 0, nil, false
	}
	c.secured.records, c.slot.conn[c.side] = conn, nil
	n, err = c.open(records, append(buf[:0], content...)) // crypto/tls reads some records at once: there is room
	return n, err, true
}

// open opens records, appends their content to buf, which has room for it, and keeps a part of a record. It returns how many bytes
// are in buf then.
func (c *secureSocket) open(p, buf []byte) (n int, err error) {
	for layer := c.loop.tls.layer; ; {
		var consumed int
		buf, consumed, err = layer.Open(&c.records, buf, p)
		p = p[consumed:]
		if err != record.ErrKeyUpdate {
			break
		}
		if c.keys.add(c.loop.env.Now) {
			err = errKeyUpdates
			break
		}
	}
	if err != nil {
		p = nil // nothing more of the side is read
	}
	c.setPart(p)
	if fault, isFault := err.(*record.Fault); isFault {
		c.alert = fault.Alert
		err = errTLS
	}
	return len(buf), err
}
