package http1

import (
	"errors"
	"io"
	"strconv"

	"sluice/proxy/h2"
	"sluice/upgrade"
)

// framing is how HTTP/1.1 tells where a body ends.
type framing uint8

const (
	noBody framing = iota
	lengthBody
	chunkedBody
	rawBody // bytes of another protocol, until the stream ends
)

// A Body frames the data of a stream as HTTP/1.1 does, and as the head that was written for the stream says. The zero value has no data.
type Body struct {
	framing framing
	left    int64 // of a length
	pending []byte
	isEnded bool // the last chunk is written, or in pending
}

// RequestBody returns the Body of a request whose head AppendRequest has written and r has parsed.
func RequestBody(r *upgrade.Request) Body {
	switch length := r.Header("Content-Length"); {
	case r.IsWebSocket():
		return Body{framing: rawBody}
	case r.Header("Transfer-Encoding") != nil:
		return Body{framing: chunkedBody}
	case length != nil:
		n, _ := strconv.ParseInt(string(length), 10, 64) // checked, or the request is refused
		return Body{framing: lengthBody, left: n}
	default:
		return Body{}
	}
}

// AnswerBody returns the Body of a response for which AppendAnswer has written a head.
func AnswerBody(response *h2.Head, isEnd bool) Body {
	length := lengthOf(response.Fields)
	switch n, err := strconv.ParseInt(length, 10, 64); {
	case isSuccess(response.Status):
		return Body{framing: rawBody}
	case isEnd || !hasBody(response.Status):
		return Body{}
	case length == "":
		return Body{framing: chunkedBody}
	case err != nil:
		return Body{} // upgrade.Answer refuses it
	default:
		return Body{framing: lengthBody, left: n}
	}
}

// IsDone reports whether the body is complete. That of another protocol never is.
func (b *Body) IsDone() bool {
	switch b.framing {
	case noBody:
		return true
	case lengthBody:
		return b.left == 0
	case chunkedBody:
		return b.isEnded && len(b.pending) == 0
	default:
		return false
	}
}

// A chunk is written with a size of fixed width, so that its data can be read into its place:
//
//	001000 CR LF 4096 octets CR LF
//	^ chunkHead              ^ chunkTail
const (
	chunkHead = 8
	chunkTail = 2
	maxChunk  = 1<<24 - 1
)

// ErrLength means that a stream's data isn't as long as its head says.
var ErrLength = errors.New("the data of the stream is not as long as its Content-Length")

// Read reads a part of the body from the data of a stream, framed, as io.Reader does. A read of from is at most as long as p. After the end
// it returns io.EOF and reads nothing.
func (b *Body) Read(from io.Reader, p []byte) (n int, err error) {
	switch b.framing {
	case noBody:
		return 0, io.EOF
	case lengthBody:
		return b.readLength(from, p)
	case chunkedBody:
		return b.readChunk(from, p)
	default:
		return from.Read(p)
	}
}

func (b *Body) readLength(from io.Reader, p []byte) (n int, err error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err = from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err == io.EOF && b.left > 0 {
		err = ErrLength
	}
	return n, err
}

func (b *Body) readChunk(from io.Reader, p []byte) (n int, err error) {
	switch {
	case len(p) == 0:
		return 0, nil
	case len(b.pending) > 0:
		n = copy(p, b.pending)
		b.pending = b.pending[n:]
		return n, nil
	case b.isEnded:
		return 0, io.EOF
	case len(p) > chunkHead+chunkTail:
		n, err = b.fillChunk(from, p[:min(len(p), maxChunk)])
		if n > 0 || err != nil || !b.isEnded {
			return n, err
		}
	default: // too small for a chunk
		own := make([]byte, 64)
		n, err = b.fillChunk(from, own)
		b.pending = append(own[:n], b.pending...)
	}
	n = copy(p, b.pending)
	b.pending = b.pending[n:]
	return n, err
}

// fillChunk reads a chunk into p. At the end of the stream the last chunk is pending.
func (b *Body) fillChunk(from io.Reader, p []byte) (n int, err error) {
	n, err = from.Read(p[chunkHead : len(p)-chunkTail])
	if err == io.EOF {
		err = nil
		b.isEnded = true
		b.pending = []byte("0\r\n\r\n")
	}
	if n == 0 {
		return 0, err
	}
	const digits = "0123456789abcdef"
	for i := range chunkHead - 2 {
		p[i] = digits[n>>(4*(chunkHead-3-i))&0xf]
	}
	copy(p[chunkHead-2:], "\r\n")
	copy(p[chunkHead+n:], "\r\n")
	return chunkHead + n + chunkTail, err
}
