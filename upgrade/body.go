package upgrade

import (
	"errors"
	"io"
)

// Bounds of the lines of a chunked body. The chunks have none, since they pass.
const (
	maxChunkDigits  = 16      // of a size, leading zeros among them, as in net/http
	maxChunkLine    = 4 << 10 // a size with its extensions
	maxTrailerBytes = MaxHeadBytes
)

// ErrBadChunk means that a chunked body is malformed, RFC 9112 section 7.1. The
// head has been forwarded by then, so the caller cuts the connection.
var ErrBadChunk = errors.New("malformed chunk in the body of a backend's answer")

// framing is how a body ends, RFC 9112 section 6.3.
type framing uint8

const (
	noBody framing = iota
	lengthBody
	chunkedBody
	endlessBody // it ends with the stream
)

// chunkState is the place of the next octet in a chunked body.
//
//	1a;name=value CR LF  26 octets CR LF  …  0 CR LF  Name: value CR LF  CR LF
//	^size ^extension ^sizeLF ^data ^dataCR ^dataLF    ^trailer  ^trailerLF ^lastLF
type chunkState uint8

const (
	chunkStart     chunkState = iota // the first digit of a size
	chunkSize                        // more digits, or the octet after them
	chunkExtension                   // after ";"
	chunkSizeLF                      // after the CR of that line
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart // the first octet of a trailer field, or the CR of the end
	trailerName
	trailerValue
	trailerLF
	lastLF
	chunkEnd
)

// Body finds the end of a body in the bytes that pass, and keeps none of them.
// Owned by the goroutine that copies the body.
type Body struct {
	framing framing
	left    int64 // of a length or of a chunk

	state chunkState
	line  int // octets of the size line, or of all trailers
}

// Done reports whether the body is complete.
func (b *Body) Done() bool {
	switch b.framing {
	case noBody:
		return true
	case lengthBody:
		return b.left == 0
	case chunkedBody:
		return b.state == chunkEnd
	default:
		return false
	}
}

// Scan returns how many leading bytes of p belong to the body: all of them until
// it is complete. The error is ErrBadChunk; n then counts the bytes before the
// malformed one, and Scan must not be called again.
func (b *Body) Scan(p []byte) (n int, err error) {
	switch b.framing {
	case noBody:
		return 0, nil
	case lengthBody:
		n = int(min(b.left, int64(len(p))))
		b.left -= int64(n)
		return n, nil
	case chunkedBody:
		return b.scanChunked(p)
	case endlessBody:
		return len(p), nil
	default:
		panic("BUG: upgrade: unknown framing of a body")
	}
}

// End records the end of the stream. It returns io.ErrUnexpectedEOF if the body
// is not complete.
func (b *Body) End() error {
	if b.framing == endlessBody || b.Done() {
		return nil
	}
	return io.ErrUnexpectedEOF
}

func (b *Body) scanChunked(p []byte) (n int, err error) {
	for n < len(p) && b.state != chunkEnd {
		if b.state == chunkData {
			m := int(min(b.left, int64(len(p)-n)))
			n += m
			if b.left -= int64(m); b.left == 0 {
				b.state = chunkDataCR
			}
			continue
		}
		if !b.nextOctet(p[n]) {
			return n, ErrBadChunk
		}
		n++
	}
	return n, nil
}

// nextOctet takes an octet outside of the data, and reports whether it is well
// formed.
func (b *Body) nextOctet(c byte) bool {
	b.line++
	switch b.state {
	case chunkStart:
		b.left, b.line = 0, 1
		b.state = chunkSize
		return b.addDigit(c)
	case chunkSize:
		switch c {
		case '\r':
			b.state = chunkSizeLF
			return true
		case ';':
			b.state = chunkExtension
			return true
		default:
			return b.addDigit(c)
		}
	case chunkExtension:
		if c == '\r' {
			b.state = chunkSizeLF
			return true
		}
		return octets[c]&valueOctet != 0 && b.line <= maxChunkLine
	case chunkSizeLF:
		b.state = chunkData
		if b.left == 0 {
			b.state, b.line = trailerStart, 0
		}
		return c == '\n'
	case chunkDataCR:
		b.state = chunkDataLF
		return c == '\r'
	case chunkDataLF:
		b.state = chunkStart
		return c == '\n'
	case lastLF:
		b.state = chunkEnd
		return c == '\n'
	default:
		return b.nextTrailerOctet(c) && b.line <= maxTrailerBytes
	}
}

// addDigit takes a digit of a chunk's size, and reports whether it is one and the
// size still fits an int64.
func (b *Body) addDigit(c byte) bool {
	if octets[c]&hexOctet == 0 || b.left >= 1<<59 || b.line > maxChunkDigits {
		return false
	}
	b.left = b.left<<4 | int64(unhex(c))
	return true
}

// nextTrailerOctet is nextOctet for the trailer fields.
func (b *Body) nextTrailerOctet(c byte) bool {
	switch b.state {
	case trailerStart:
		if c == '\r' {
			b.state = lastLF
			return true
		}
		b.state = trailerName
		return octets[c]&tokenOctet != 0
	case trailerName:
		if c == ':' {
			b.state = trailerValue
			return true
		}
		return octets[c]&tokenOctet != 0
	case trailerValue:
		if c == '\r' {
			b.state = trailerLF
			return true
		}
		return octets[c]&valueOctet != 0
	case trailerLF:
		b.state = trailerStart
		return c == '\n'
	default:
		panic("BUG: upgrade: unknown state of a chunked body")
	}
}
