package h2test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A Field is a field line, or a pseudo-header field.
type Field = hpack.HeaderField

// patience is how long a peer may take to do what a test waits for.
const patience = 20 * time.Second

// Fields makes fields of names and values in turn.
func Fields(pairs ...string) (fields []Field) {
	for i := 0; i+1 < len(pairs); i += 2 {
		fields = append(fields, Field{Name: pairs[i], Value: pairs[i+1]})
	}
	return fields
}

// WebSocket returns the fields of a request for a WebSocket, as RFC 8441 section 5 has them, followed by more.
func WebSocket(authority, path string, more ...Field) []Field {
	return append(Fields(":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", authority, ":path", path,
		"sec-websocket-version", "13"), more...)
}

// Request returns the fields of any other request, followed by more.
func Request(method, authority, path string, more ...Field) []Field {
	return append(Fields(":method", method, ":scheme", "http", ":authority", authority, ":path", path), more...)
}

// Dial connects to an address: without TLS if secure is nil, otherwise with h2 as the only protocol that ALPN offers.
func Dial(address string, secure *tls.Config) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil || secure == nil {
		return conn, err
	}
	secure = secure.Clone()
	secure.NextProtos = []string{http2.NextProtoTLS}
	if secure.ServerName == "" && !secure.InsecureSkipVerify {
		secure.ServerName, _, _ = net.SplitHostPort(address)
	}
	encrypted := tls.Client(conn, secure)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := encrypted.Handshake(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	if chosen := encrypted.ConnectionState().NegotiatedProtocol; chosen != http2.NextProtoTLS {
		return nil, errors.Join(fmt.Errorf("ALPN chose %q, want %q", chosen, http2.NextProtoTLS), conn.Close())
	}
	return encrypted, nil
}

// Raw is a connection whose frames a test reads and writes itself.
type Raw struct {
	Conn net.Conn
	// Framer writes any frame, also one that the protocol forbids. It reads field blocks as *http2.MetaHeadersFrame.
	Framer *http2.Framer

	encoder *hpack.Encoder
	block   bytes.Buffer
}

// NewRaw makes a Raw of a connection. It sends nothing.
func NewRaw(conn net.Conn) *Raw {
	r := &Raw{Conn: conn, Framer: http2.NewFramer(conn, conn)}
	r.Framer.AllowIllegalWrites = true
	r.Framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.encoder = hpack.NewEncoder(&r.block)
	return r
}

// Begin sends what a client sends first: the preface and settings.
func (r *Raw) Begin(settings ...http2.Setting) error {
	if _, err := io.WriteString(r.Conn, http2.ClientPreface); err != nil {
		return err
	}
	return r.Framer.WriteSettings(settings...)
}

// Block encodes a field block.
func (r *Raw) Block(fields ...Field) []byte {
	r.block.Reset()
	for _, field := range fields {
		_ = r.encoder.WriteField(field) // into a buffer
	}
	return bytes.Clone(r.block.Bytes())
}

// Headers sends a field block in one frame.
func (r *Raw) Headers(stream uint32, isEnd bool, fields ...Field) error {
	return r.Framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: r.Block(fields...), EndStream: isEnd, EndHeaders: true})
}

// Data sends a DATA frame. It keeps no window.
func (r *Raw) Data(stream uint32, isEnd bool, p []byte) error {
	return r.Framer.WriteData(stream, isEnd, p)
}

// Next reads a frame, which is valid until the next call. It acknowledges settings and pings.
func (r *Raw) Next() (http2.Frame, error) {
	_ = r.Conn.SetReadDeadline(time.Now().Add(patience))
	frame, err := r.Framer.ReadFrame()
	if err != nil {
		return nil, err
	}
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			err = r.Framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			err = r.Framer.WritePing(true, f.Data)
		}
	}
	if err != nil { // the peer may have closed after the frame
		return frame, nil
	}
	return frame, nil
}

// Await reads frames until one is what the test waits for.
func (r *Raw) Await(what string, is func(http2.Frame) bool) (http2.Frame, error) {
	var passed []string
	for {
		frame, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("no %s, but %q and then %w", what, passed, err)
		}
		if is(frame) {
			return frame, nil
		}
		if len(passed) < 20 {
			passed = append(passed, describe(frame))
		}
	}
}

// AwaitReset reads frames until a stream is reset, and returns the code.
func (r *Raw) AwaitReset(stream uint32) (http2.ErrCode, error) {
	frame, err := r.Await(fmt.Sprint("RST_STREAM of stream ", stream), func(f http2.Frame) bool {
		_, isReset := f.(*http2.RSTStreamFrame)
		return isReset && f.Header().StreamID == stream
	})
	if err != nil {
		return 0, err
	}
	return frame.(*http2.RSTStreamFrame).ErrCode, nil
}

// AwaitGoAway reads frames until a GOAWAY comes, and returns its code.
func (r *Raw) AwaitGoAway() (http2.ErrCode, error) {
	frame, err := r.Await("GOAWAY", func(f http2.Frame) bool { _, is := f.(*http2.GoAwayFrame); return is })
	if err != nil {
		return 0, err
	}
	return frame.(*http2.GoAwayFrame).ErrCode, nil
}

// AwaitHead reads frames until a stream's field block has come.
func (r *Raw) AwaitHead(stream uint32) (fields []Field, isEnd bool, err error) {
	frame, err := r.Await(fmt.Sprint("HEADERS of stream ", stream), func(f http2.Frame) bool {
		_, isHead := f.(*http2.MetaHeadersFrame)
		return isHead && f.Header().StreamID == stream
	})
	if err != nil {
		return nil, false, err
	}
	head := frame.(*http2.MetaHeadersFrame)
	return head.Fields, head.StreamEnded(), nil
}

// describe puts a frame in words.
func describe(frame http2.Frame) string {
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		return fmt.Sprint(f.Header(), " ", f.Fields)
	case *http2.RSTStreamFrame:
		return fmt.Sprint(f.Header(), " ", f.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Sprintf("%v %v %q", f.Header(), f.ErrCode, f.DebugData())
	}
	return fmt.Sprint(frame.Header())
}
