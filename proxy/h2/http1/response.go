package http1

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"sluice/proxy/h2"
)

// Bounds of a response of HTTP/1.1. What writes it has bounds of its own, which are narrower.
const (
	maxHeadBytes    = 128 << 10
	maxTrailerBytes = 64 << 10
	maxChunkLine    = 4 << 10
)

// What is wrong with a response that is written.
var (
	ErrBadResponse = errors.New("the response is not one of HTTP/1.1")
	ErrIncomplete  = errors.New("the response is not complete")
)

// A Stream is where a response goes. Its methods may block.
type Stream interface {
	// WriteHead sends a response's head, an interim one, or trailers. isEnd ends the own direction of the stream.
	WriteHead(fields []h2.Field, isEnd bool) error
	// Write sends data, all of p.
	Write(p []byte) (int, error)
	// CloseWrite ends the own direction.
	CloseWrite() error
}

// A Response is a response of HTTP/1.1 on its way to a stream: it is written in parts of any size, and goes on as what HTTP/2 has for it.
// Owned by one goroutine at a time. The zero value is the response to a GET.
type Response struct {
	IsHead    bool // the request is a HEAD: there is no body
	IsConnect bool // the request is an extended CONNECT

	state responseState
	left  int64  // of the body, or of a chunk
	line  []byte // of a head or of trailers as far as it has come, or the line of a chunk's size
}

type responseState uint8

const (
	inHead responseState = iota
	inLength
	inChunkSize
	inChunk
	inChunkEnd // the CRLF after a chunk's data
	inTrailers
	inRaw // the body ends with the connection, or there is another protocol
	isComplete
	isBroken
)

// IsComplete reports whether the response is complete, and so the own direction of the stream has ended.
func (r *Response) IsComplete() bool { return r.state == isComplete }

// Write takes the next part of the response. After an error, the stream is to be reset.
func (r *Response) Write(to Stream, p []byte) (err error) {
	for len(p) > 0 && err == nil {
		n := len(p)
		switch r.state {
		case inHead:
			n, err = r.writeHead(to, p)
		case inLength:
			n, err = r.writeData(to, p)
			if err == nil && r.left == 0 {
				err = r.complete(to)
			}
		case inChunkSize:
			n, err = r.writeChunkSize(p)
		case inChunk:
			if n, err = r.writeData(to, p); r.left == 0 {
				r.state, r.left = inChunkEnd, 2
			}
		case inChunkEnd:
			n = int(min(r.left, int64(len(p))))
			if want := "\r\n"[2-r.left:]; string(p[:n]) != want[:n] {
				err = ErrBadResponse
			}
			if r.left -= int64(n); r.left == 0 {
				r.state = inChunkSize
			}
		case inTrailers:
			n, err = r.writeTrailers(to, p)
		case inRaw:
			_, err = to.Write(p)
		case isComplete:
			if !r.IsHead { // a refusal has its body all the same
				return ErrBadResponse
			}
		default:
			err = ErrBadResponse
		}
		p = p[n:]
	}
	if err != nil {
		r.state = isBroken
	}
	return err
}

// End notes that nothing more is written. The error is ErrIncomplete if the response isn't complete: the stream is to be reset then.
func (r *Response) End(to Stream) error {
	switch r.state {
	case isComplete:
		return nil
	case inRaw:
		return r.complete(to)
	default:
		return ErrIncomplete
	}
}

func (r *Response) complete(to Stream) error {
	r.state = isComplete
	return to.CloseWrite()
}

// writeData passes what of p belongs to the body, or to a chunk.
func (r *Response) writeData(to Stream, p []byte) (n int, err error) {
	n = int(min(r.left, int64(len(p))))
	r.left -= int64(n)
	_, err = to.Write(p[:n])
	return n, err
}

// collect adds to r.line what of p comes up to the end of that mark, which it also finds where it began in an earlier part. It returns the
// line, or nil if the mark has not come, and how much of p is consumed.
func (r *Response) collect(p []byte, mark string, limit int) (line []byte, n int, err error) {
	known := len(r.line)
	from := max(0, known-len(mark)+1)
	r.line = append(r.line, p[:min(len(p), limit-known)]...)
	i := bytes.Index(r.line[from:], []byte(mark))
	if i < 0 {
		if len(r.line) == limit {
			return nil, 0, ErrBadResponse
		}
		return nil, len(p), nil
	}
	end := from + i + len(mark)
	line, r.line = r.line[:end], nil
	return line, end - known, nil
}

func (r *Response) writeHead(to Stream, p []byte) (n int, err error) {
	line, n, err := r.collect(p, "\r\n\r\n", maxHeadBytes)
	if line == nil {
		return n, err
	}
	var h head
	if !h.parse(line) {
		return n, ErrBadResponse
	}
	status := parseStatus(h.first)
	switch {
	case status == 0:
		return n, ErrBadResponse
	case status == 101 && r.IsConnect:
		r.state = inRaw
		return n, to.WriteHead(h.appendSwitch(nil), false)
	case status == 101:
		return n, ErrBadResponse // RFC 9113 section 8.6
	case status < 200:
		h.drop("content-length")
		return n, to.WriteHead(h.response(status), false)
	}
	if r.IsConnect && isSuccess(status) {
		status = 502 // in HTTP/1.1 it refuses WebSocket: the client gets no 101. Here it would accept
	}
	return n, r.writeFinal(to, &h, status)
}

// writeFinal sends the head of the final response, and finds out how its body ends: RFC 9112 section 6.3.
func (r *Response) writeFinal(to Stream, h *head, status int) error {
	length := h.value("content-length")
	n, err := strconv.ParseUint(length, 10, 63)
	switch {
	case length != "" && err != nil:
		return ErrBadResponse
	case r.IsHead || status == 304:
		r.state = isComplete
	case status == 204:
		h.drop("content-length")
		r.state = isComplete
	case h.isChunked:
		h.drop("content-length")
		r.state = inChunkSize
	case length == "":
		r.state = inRaw
	case n == 0:
		r.state = isComplete
	default:
		r.state, r.left = inLength, int64(n)
	}
	return to.WriteHead(h.response(status), r.state == isComplete)
}

// response returns the fields of a response's head.
func (h *head) response(status int) []h2.Field {
	fields := append(make([]h2.Field, 0, 1+len(h.fields)), h2.Field{Name: ":status", Value: strconv.Itoa(status)})
	for _, f := range h.fields {
		if f.Name != "http2-settings" {
			fields = append(fields, f)
		}
	}
	return fields
}

// writeChunkSize takes the line with the size of a chunk. Its extensions end at this hop: RFC 9112 section 7.1.1.
func (r *Response) writeChunkSize(p []byte) (n int, err error) {
	line, n, err := r.collect(p, "\r\n", maxChunkLine)
	if line == nil {
		return n, err
	}
	digits, _, _ := strings.Cut(string(line[:len(line)-2]), ";")
	size, err := strconv.ParseUint(strings.TrimRight(digits, " \t"), 16, 63)
	if err != nil {
		return n, ErrBadResponse
	}
	if r.state, r.left = inChunk, int64(size); size == 0 {
		r.state, r.line = inTrailers, []byte("\r\n") // so that an empty line ends them also where there are none
	}
	return n, nil
}

func (r *Response) writeTrailers(to Stream, p []byte) (n int, err error) {
	line, n, err := r.collect(p, "\r\n\r\n", maxTrailerBytes)
	if line == nil {
		return n, err
	}
	var h head
	if len(line) > len("\r\n\r\n") && !h.parse(line) {
		return n, ErrBadResponse
	}
	if len(h.fields) == 0 {
		return n, r.complete(to)
	}
	r.state = isComplete
	return n, to.WriteHead(h.fields, true)
}
