package record

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

const (
	// HeaderBytes is the length of a record's header (RFC 8446 section 5.1).
	HeaderBytes = 5
	// MaxBytes is the length of the longest record with its header (RFC 8446 section 5.2: 2^14 + 256).
	MaxBytes = HeaderBytes + MaxContent + 256
	// MaxContent is how many bytes a record may carry (RFC 8446 section 5.1).
	MaxContent = 1 << 14
	// Overhead is by how much a record is longer than its content.
	Overhead = HeaderBytes + 1 + tagBytes

	maxUseless = 32      // records and messages in a row that carry no data, as in BoringSSL
	directMin  = 1 << 10 // content of a record that is sealed from where it lies

	// Of a NewSessionTicket (RFC 8446 section 4.6.1): its lifetime, age_add, and nonce, ticket and extensions with their lengths.
	minTicket = 4 + 4 + 1 + 2 + 1 + 2
	maxTicket = minTicket + 255 + 1<<16 - 2 + 1<<16 - 2
)

// Content types (RFC 8446 section 5.1).
const (
	typeAlert           = 21
	typeHandshake       = 22
	typeApplicationData = 23
)

// Types of messages (RFC 8446 section 4).
const (
	messageNewSessionTicket = 4
	messageKeyUpdate        = 24

	messageHeaderBytes = 4
	keyUpdateBytes     = messageHeaderBytes + 1
)

// A Conn is the state of a connection after its handshake. It has no pointers and may be copied, but only one copy may go on. The zero
// value is no connection.
type Conn struct {
	in, out  half
	left     uint32 // bytes to come of a message that is read over
	begun    [messageHeaderBytes]byte
	begunLen uint8 // bytes of begun: the beginning of a message that hasn't come whole
	suite    suite
	useless  uint8 // records and messages in a row that carried no data
	flags    flags
}

type flags uint8

const (
	isClient   flags = 1 << iota
	owesUpdate       // the peer has asked for new keys of ours
	hasEnded         // an alert was sealed: nothing may follow it
)

// ErrKeyUpdate is what Open returns after a record with which the peer has changed its keys. It is no fault: the caller may call Open
// again, or find that the peer does so too often.
var ErrKeyUpdate = errors.New("TLS: the peer has changed its keys")

// Open opens the records that have come whole, and appends their content to dst, which has room for as many bytes and doesn't overlap
// records. It returns how many bytes of records it has consumed. The error is nil, ErrKeyUpdate, io.EOF after close_notify, a PeerAlert, or a
// *Fault; content may come with each of them.
func (l *Layer) Open(c *Conn, dst, records []byte) (content []byte, consumed int, err error) {
	for {
		size, err := Size(records[consumed:])
		if err != nil || size == 0 || size > len(records)-consumed {
			return dst, consumed, err
		}
		dst, err = l.openOne(c, dst, records[consumed:consumed+size])
		consumed += size
		if err != nil {
			return dst, consumed, err
		}
	}
}

// Size returns the length of the record that begins with p, its header included; 0: p is too short to know it. The error is a *Fault if no
// record can begin so.
func Size(p []byte) (int, error) {
	if len(p) > 0 && p[0] != typeApplicationData {
		return 0, &Fault{UnexpectedMessage, "a record that is not encrypted"}
	}
	if len(p) < HeaderBytes {
		return 0, nil
	}
	size := HeaderBytes + int(binary.BigEndian.Uint16(p[3:]))
	if size > MaxBytes {
		return 0, &Fault{RecordOverflow, "a record is too long"}
	}
	return size, nil
}

// openOne opens a record. RFC 8446 section 5.1 has its version ignored; it is authenticated.
func (l *Layer) openOne(c *Conn, dst, record []byte) ([]byte, error) {
	start := len(dst)
	p, err := l.aead(c.suite, &c.in).Open(dst, l.setNonce(&c.in), record[HeaderBytes:], record[:HeaderBytes])
	if err != nil {
		return dst, &Fault{BadRecordMAC, "a record is not authentic"}
	}
	c.in.seq++
	if len(p)-start > MaxContent+1 { // RFC 8446 section 5.4: padding counts
		return dst, &Fault{RecordOverflow, "a record's content is too long"}
	}
	end := len(p)
	for end > start && p[end-1] == 0 { // padding
		end--
	}
	if end == start {
		return dst, &Fault{UnexpectedMessage, "a record without a type"}
	}
	contentType, content := p[end-1], p[start:end-1]
	if contentType == typeApplicationData {
		if c.isInMessage() {
			return dst, &Fault{UnexpectedMessage, "data inside a handshake message"}
		}
		if len(content) > 0 {
			c.useless = 0
			return p[:end-1], nil
		}
		return dst, c.countUseless()
	}
	if len(content) == 0 {
		return dst, &Fault{UnexpectedMessage, "an empty record that is not data"} // RFC 8446 section 5.4
	}
	switch contentType {
	case typeAlert:
		return dst, c.alerted(content)
	case typeHandshake:
		return dst, l.messages(c, content)
	}
	return dst, &Fault{UnexpectedMessage, "a record of a type that may not come after the handshake"}
}

// isInMessage reports whether a handshake message has begun and not ended.
func (c *Conn) isInMessage() bool { return c.left > 0 || c.begunLen > 0 }

// countUseless counts a record or a message that carried no data. A part of a message does not count, because the length of one is bounded.
func (c *Conn) countUseless() error {
	if c.useless++; c.useless > maxUseless {
		return &Fault{UnexpectedMessage, "too many records without data"}
	}
	return nil
}

// alerted processes the content of an alert (RFC 8446 section 6). Its level is ignored.
func (c *Conn) alerted(content []byte) error {
	if c.isInMessage() {
		return &Fault{UnexpectedMessage, "an alert inside a handshake message"}
	}
	if len(content) != 2 {
		return &Fault{DecodeError, "an alert that is not 2 bytes long"}
	}
	switch a := Alert(content[1]); a {
	case CloseNotify:
		return io.EOF
	case userCanceled: // close_notify should follow
		return c.countUseless()
	default:
		return PeerAlert(a)
	}
}

// messages processes handshake messages, or parts of them (RFC 8446 section 4.6).
func (l *Layer) messages(c *Conn, p []byte) error {
	for len(p) > 0 {
		if c.left > 0 {
			n := min(int(c.left), len(p))
			c.left -= uint32(n)
			p = p[n:]
			if c.left > 0 {
				break
			}
			if err := c.countUseless(); err != nil {
				return err
			}
			continue
		}
		n := copy(c.begun[c.begunLen:], p)
		c.begunLen += uint8(n)
		p = p[n:]
		if c.begunLen < messageHeaderBytes {
			break
		}
		size := int(c.begun[1])<<16 | int(c.begun[2])<<8 | int(c.begun[3])
		switch kind := c.begun[0]; {
		case kind == messageNewSessionTicket && c.flags&isClient != 0:
			if size < minTicket || size > maxTicket {
				return &Fault{DecodeError, "a session ticket's length is impossible"}
			}
			c.left, c.begunLen = uint32(size), 0
		case kind != messageKeyUpdate:
			return &Fault{UnexpectedMessage, "a message that may not come after the handshake"}
		case size != 1:
			return &Fault{DecodeError, "a KeyUpdate that is not 1 byte long"}
		case len(p) > 1:
			return &Fault{UnexpectedMessage, "a KeyUpdate that does not end its record"} // RFC 8446 section 5.1
		case len(p) == 1:
			return l.updated(c, p[0])
		default:
			return nil // its last byte is in the next record
		}
	}
	return nil
}

// updated processes a KeyUpdate (RFC 8446 section 4.6.3).
func (l *Layer) updated(c *Conn, request byte) error {
	if request > 1 {
		return &Fault{IllegalParameter, "a KeyUpdate with an unknown request"}
	}
	c.begunLen = 0
	if request == 1 {
		c.flags |= owesUpdate
	}
	l.forget(&c.in)
	c.in.update(c.suite)
	return ErrKeyUpdate
}

// Seal appends records with the content of spans to dst, which overlaps none of them. It puts a KeyUpdate in front where the peer
// has asked for one (RFC 8446 section 4.6.3: before the next record with data), or the limit of records under one key is near (section 5.5).
// After Alert it appends nothing. Until it returns, the bytes in the capacity of a span are the Layer's.
func (l *Layer) Seal(c *Conn, dst []byte, spans [][]byte) []byte {
	if c.flags&hasEnded != 0 {
		return dst
	}
	left := 0
	for _, span := range spans {
		left += len(span)
	}
	dst = slices.Grow(dst, left+(left/MaxContent+2)*Overhead)
	for at := 0; left > 0; {
		if c.flags&owesUpdate != 0 || c.out.seq >= l.Limit {
			dst = l.update(c, dst)
		}
		size := min(left, MaxContent)
		left -= size
		if span := spans[0][at:]; size >= directMin && len(span) >= size && cap(span) > size {
			dst = l.sealDirect(c, dst, span[:size])
			if at += size; at == len(spans[0]) {
				spans, at = spans[1:], 0
			}
			continue
		}
		start := len(dst)
		dst = appendHeader(dst, size)
		for size > 0 {
			n := min(size, len(spans[0])-at)
			dst = append(dst, spans[0][at:at+n]...)
			size -= n
			if at += n; at == len(spans[0]) {
				spans, at = spans[1:], 0
			}
		}
		dst = l.seal(c, append(dst, typeApplicationData), start)
	}
	return dst
}

// sealDirect appends a record with data, without a copy of it: the type stands after the content for the time of the call.
func (l *Layer) sealDirect(c *Conn, dst, content []byte) []byte {
	start, inner := len(dst), content[:len(content)+1]
	dst = slices.Grow(appendHeader(dst, len(content)), len(inner)+tagBytes)
	next := inner[len(content)]
	inner[len(content)] = typeApplicationData
	l.aead(c.suite, &c.out).Seal(dst[len(dst):], l.setNonce(&c.out), inner, dst[start:])
	inner[len(content)] = next
	c.out.seq++
	return dst[:len(dst)+len(inner)+tagBytes]
}

// update appends a KeyUpdate, and changes the keys.
func (l *Layer) update(c *Conn, dst []byte) []byte {
	start := len(dst)
	dst = append(appendHeader(dst, keyUpdateBytes), messageKeyUpdate, 0, 0, 1, 0) // update_not_requested
	dst = l.seal(c, append(dst, typeHandshake), start)
	l.forget(&c.out)
	c.out.update(c.suite)
	c.flags &^= owesUpdate
	return dst
}

// Alert appends the record of an alert, the last one of the connection. It appends nothing if there was one already.
func (l *Layer) Alert(c *Conn, dst []byte, a Alert) []byte {
	if c.flags&hasEnded != 0 {
		return dst
	}
	c.flags |= hasEnded
	const warning, fatal = 1, 2
	level := byte(fatal)
	if a == CloseNotify {
		level = warning
	}
	start := len(dst)
	dst = append(appendHeader(dst, 2), level, byte(a), typeAlert)
	return l.seal(c, dst, start)
}

// appendHeader appends the header of a record for content of a size.
func appendHeader(dst []byte, size int) []byte {
	return binary.BigEndian.AppendUint16(append(dst, typeApplicationData, 3, 3), uint16(size+1+tagBytes))
}

// seal seals the record that begins at start and ends with its content's type.
func (l *Layer) seal(c *Conn, dst []byte, start int) []byte {
	dst = slices.Grow(dst, tagBytes)
	header, inner := dst[start:start+HeaderBytes], dst[start+HeaderBytes:]
	l.aead(c.suite, &c.out).Seal(inner[:0], l.setNonce(&c.out), inner, header)
	c.out.seq++
	return dst[:len(dst)+tagBytes]
}
