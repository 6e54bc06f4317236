package driver

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"reflect"
	"strings"
	"unsafe"
)

const (
	recordHeader = 5
	// maxRecordBytes is RFC 5246 section 6.2.3: "The length MUST NOT exceed 2^14 + 2048"; TLS 1.3 allows less.
	maxRecordBytes = recordHeader + 16<<10 + 2048
)

// A recordBuffer has room for a record of TLS.
type recordBuffer [maxRecordBytes]byte

// errTLS is the error of a read whose peer has broken a rule of TLS: an alert tells it.
var errTLS = errors.New("a fault of TLS")

// isFault reports whether an error of crypto/tls is a fault of the peer, which crypto/tls has told it by an alert. Some of these errors have
// no type.
func isFault(err error) bool {
	var own *net.OpError
	return errors.As(err, &own) && own.Op == "local error" || err != nil && strings.HasPrefix(err.Error(), "tls: ")
}

// tlsBuffers locates the buffers inside a tls.Conn. crypto/tls keeps them for a connection's whole life, 12 KB after one record of 16 KB.
// A loop instead lends its own buffer for the time of a read, and drops those of the handshake. tls/stdlib_test.go tests the assumptions
// about crypto/tls.
type tlsBuffers struct {
	rawInput uintptr // bytes.Buffer: records as they came
	hand     uintptr // bytes.Buffer: messages of the handshake
	input    uintptr // bytes.Reader: payload that was opened, inside rawInput's memory
	isKnown  bool    // all three are as in Go 1.26; otherwise nothing is lent
}

// theTLSBuffers are those of the crypto/tls that this program is built with. Immutable.
var theTLSBuffers = findTLSBuffers()

func findTLSBuffers() (b tlsBuffers) {
	conn := reflect.TypeFor[tls.Conn]()
	b.isKnown = true
	for name, at := range map[string]*uintptr{"rawInput": &b.rawInput, "hand": &b.hand, "input": &b.input} {
		want := reflect.TypeFor[bytes.Buffer]()
		if name == "input" {
			want = reflect.TypeFor[bytes.Reader]()
		}
		field, found := conn.FieldByName(name)
		if !found || field.Type != want {
			return tlsBuffers{}
		}
		*at = field.Offset
	}
	return b
}

// rawInputOf returns the buffer for records. The caller has checked theTLSBuffers.isKnown.
func rawInputOf(conn *tls.Conn) *bytes.Buffer {
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(conn), theTLSBuffers.rawInput))
}

// lend gives a connection records to read, in memory that it may use until releaseBuffers. The caller has checked theTLSBuffers.isKnown.
func lend(conn *tls.Conn, records []byte) { *rawInputOf(conn) = *bytes.NewBuffer(records) }

// releaseBuffers drops the connection's buffers in which nothing is left.
func releaseBuffers(conn *tls.Conn) {
	if raw := rawInputOf(conn); raw.Len() == 0 {
		*raw = bytes.Buffer{}
	}
	if hand := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(conn), theTLSBuffers.hand)); hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	if input := (*bytes.Reader)(unsafe.Add(unsafe.Pointer(conn), theTLSBuffers.input)); input.Len() == 0 {
		*input = bytes.Reader{}
	}
}
