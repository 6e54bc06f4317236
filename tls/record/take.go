package record

import (
	"bytes"
	"crypto/fips140"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"
)

// layout is where a tls.Conn has what Take needs. stdlib_test.go tests the assumptions about crypto/tls.
type layout struct {
	isComplete, isClient, version, suite uintptr
	rawInput, hand, input                uintptr
	toSend, hasClosed                    uintptr
	in, out                              halfLayout
}

// halfLayout is where it has the state of a direction.
type halfLayout struct{ err, secret, seq uintptr }

// theLayout is that of the crypto/tls that this program is built with; the error says what it lacks. Immutable.
var theLayout, errLayout = findLayout(reflect.TypeFor[tls.Conn]())

// findLayout finds it in the type of tls.Conn.
func findLayout(conn reflect.Type) (l layout, err error) {
	find := func(in reflect.Type, name string, want reflect.Type) uintptr {
		field, isThere := in.FieldByName(name)
		if err == nil && (!isThere || field.Type != want) {
			err = fmt.Errorf("%v has no field %s of the type %v", in, name, want)
		}
		return field.Offset
	}
	l.isComplete = find(conn, "isHandshakeComplete", reflect.TypeFor[atomic.Bool]())
	l.isClient = find(conn, "isClient", reflect.TypeFor[bool]())
	l.version = find(conn, "vers", reflect.TypeFor[uint16]())
	l.suite = find(conn, "cipherSuite", reflect.TypeFor[uint16]())
	l.rawInput = find(conn, "rawInput", reflect.TypeFor[bytes.Buffer]())
	l.hand = find(conn, "hand", reflect.TypeFor[bytes.Buffer]())
	l.input = find(conn, "input", reflect.TypeFor[bytes.Reader]())
	l.toSend = find(conn, "sendBuf", reflect.TypeFor[[]byte]())
	l.hasClosed = find(conn, "closeNotifySent", reflect.TypeFor[bool]())
	for name, half := range map[string]*halfLayout{"in": &l.in, "out": &l.out} {
		field, isThere := conn.FieldByName(name)
		if !isThere || field.Type.Kind() != reflect.Struct {
			return layout{}, fmt.Errorf("%v has no struct %s", conn, name)
		}
		half.err = field.Offset + find(field.Type, "err", reflect.TypeFor[error]())
		half.secret = field.Offset + find(field.Type, "trafficSecret", reflect.TypeFor[[]byte]())
		half.seq = field.Offset + find(field.Type, "seq", reflect.TypeFor[[8]byte]())
	}
	return l, err
}

// at returns the field of a connection at an offset, which is a T.
func at[T any](conn *tls.Conn, offset uintptr) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(conn), offset))
}

// Take returns the state of a connection whose handshake is complete, and what crypto/tls has read already: content that was opened, and
// then records, in memory that the caller owns. The connection must not be used any more, except where isTaken is false: it has no
// TLS 1.3, an end or an error, or Works returns an error. Then it is as before.
func Take(conn *tls.Conn) (c Conn, content, records []byte, isTaken bool) {
	if Works() != nil {
		return c, nil, nil, false
	}
	return take(conn)
}

func take(conn *tls.Conn) (c Conn, content, records []byte, isTaken bool) {
	l := &theLayout
	s := suiteOf(*at[uint16](conn, l.suite))
	if s == 0 || !at[atomic.Bool](conn, l.isComplete).Load() || *at[uint16](conn, l.version) != tls.VersionTLS13 ||
		at[bytes.Buffer](conn, l.hand).Len() > 0 || len(*at[[]byte](conn, l.toSend)) > 0 || *at[bool](conn, l.hasClosed) {
		return c, nil, nil, false
	}
	for _, h := range []struct {
		from *halfLayout
		to   *half
	}{{&l.in, &c.in}, {&l.out, &c.out}} {
		secret := *at[[]byte](conn, h.from.secret)
		if *at[error](conn, h.from.err) != nil || len(secret) != suites[s].hashBytes {
			return Conn{}, nil, nil, false
		}
		h.to.setSecret(s, secret)
		h.to.seq = binary.BigEndian.Uint64(at[[8]byte](conn, h.from.seq)[:])
	}
	c.suite = s
	if *at[bool](conn, l.isClient) {
		c.flags = isClient
	}
	if input := at[bytes.Reader](conn, l.input); input.Len() > 0 {
		content = make([]byte, input.Len())
		_, _ = input.Read(content)
	}
	return c, content, at[bytes.Buffer](conn, l.rawInput).Bytes(), true
}

var errFIPS = errors.New("the program runs in FIPS 140 mode, whose records crypto/tls has to make")

// Works returns why Take takes no connection; nil: it takes those of TLS 1.3. The first call tries it out by two handshakes in memory,
// which takes some milliseconds.
var Works = sync.OnceValue(func() error { return tryOut(errLayout) })

func tryOut(errLayout error) error {
	switch {
	case fips140.Enabled():
		return errFIPS
	case errLayout != nil:
		return fmt.Errorf("this release of Go has another crypto/tls: %w", errLayout)
	}
	return selfTest()
}
