package record

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
)

// selfTest takes both ends of connections in turn, and has them exchange records with crypto/tls.
func selfTest() (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("self-test: %v", cause)
		}
	}()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, DynamicRecordSizingDisabled: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
	for _, takesClient := range []bool{false, true} {
		a, b := newMemory()
		ends := [2]*tls.Conn{tls.Server(a, config), tls.Client(b, config)}
		if err := shake(ends, [2]*memory{a, b}); err != nil {
			return fmt.Errorf("self-test: handshake: %w", err)
		}
		ours, theirs, wire := ends[0], ends[1], a
		if takesClient {
			ours, theirs, wire = ends[1], ends[0], b
		}
		if err := exchange(ours, theirs, wire); err != nil {
			return fmt.Errorf("self-test: as client %t: %w", takesClient, err)
		}
	}
	return nil
}

// shake makes the handshake of two ends. An end whose handshake fails ends its stream, so that the other one fails, too.
func shake(ends [2]*tls.Conn, wires [2]*memory) error {
	shakeOne := func(i int) error {
		err := ends[i].Handshake()
		if err != nil {
			close(wires[i].out)
		}
		return err
	}
	done := make(chan error, 1)
	go func() { done <- shakeOne(1) }()
	return errors.Join(shakeOne(0), <-done)
}

// exchange takes one end, after it has read, and sends data both ways, a record that was sent before among them.
func exchange(ours, theirs *tls.Conn, wire *memory) error {
	messages := [][]byte{[]byte("read before"), []byte("sent before"), bytes.Repeat([]byte("sent after "), 3000)}
	for _, m := range messages[:2] {
		if _, err := theirs.Write(m); err != nil {
			return err
		}
		if _, err := ours.Write(m); err != nil {
			return err
		}
	}
	got := make([]byte, len(messages[0]))
	if _, err := io.ReadFull(ours, got); err != nil || !bytes.Equal(got, messages[0]) {
		return fmt.Errorf("crypto/tls has read %q, %w", got, err)
	}
	c, content, records, isTaken := take(ours)
	if !isTaken {
		return errors.New("the connection can't be taken")
	}
	if _, err := theirs.Write(messages[2]); err != nil {
		return err
	}
	records = append(bytes.Clone(records), wire.takeAll()...)
	layer := NewLayer()
	content, n, err := layer.Open(&c, content, records)
	if want := bytes.Join(messages[1:], nil); err != nil || n != len(records) || !bytes.Equal(content, want) {
		return fmt.Errorf("%d bytes of content in %d of %d bytes of records, want %d: %w", len(content), n, len(records), len(want), err)
	}
	sealed := layer.Alert(&c, layer.Seal(&c, nil, messages[2:]), CloseNotify)
	if _, err := wire.Write(sealed); err != nil {
		return err
	}
	back, err := io.ReadAll(theirs)
	if want := bytes.Join(messages, nil); err != nil || !bytes.Equal(back, want) {
		return fmt.Errorf("crypto/tls has opened %d bytes, want %d: %w", len(back), len(want), err)
	}
	return nil
}

// memory is one end of a connection in memory, whose writes don't block. One goroutine at a time may use it.
type memory struct {
	net.Conn // nil: what it has besides isn't used
	in       <-chan []byte
	out      chan<- []byte
	rest     []byte // of what came last
}

// newMemory returns both ends of a connection, for at most 64 writes that the other end hasn't read.
func newMemory() (a, b *memory) {
	toA, toB := make(chan []byte, 64), make(chan []byte, 64)
	return &memory{in: toA, out: toB}, &memory{in: toB, out: toA}
}

// Read implements net.Conn.
func (m *memory) Read(p []byte) (int, error) {
	if len(m.rest) == 0 {
		var isOpen bool
		if m.rest, isOpen = <-m.in; !isOpen {
			return 0, io.EOF
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// Write implements net.Conn.
func (m *memory) Write(p []byte) (int, error) {
	select {
	case m.out <- bytes.Clone(p):
		return len(p), nil
	default:
		return 0, io.ErrShortWrite
	}
}

// takeAll returns all that has come.
func (m *memory) takeAll() (all []byte) {
	for all = m.rest; len(m.in) > 0; {
		all = append(all, <-m.in...)
	}
	m.rest = nil
	return all
}
