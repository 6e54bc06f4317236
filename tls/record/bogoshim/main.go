// Command bogoshim lets the tests of BoringSSL's ssl/test/runner, also called BoGo, run against package record: crypto/tls makes the
// handshake, and record opens and seals all that comes after it. The runner starts it once a test, with flags, and is its peer. It is no
// part of the program: "make bogo" builds and runs it.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"

	"sluice/tls/record"
)

// unimplemented is the exit status by which the runner leaves a test out. The shim exits with it at a flag that it doesn't have, and
// where record does not take the connection, so that no test passes without record.
const unimplemented = 89

// options are the runner's flags.
type options struct {
	host, port                   string
	id                           uint64 // of the process, which the runner is told first
	isServer                     bool
	keyFile, certFile, trustCert string

	sendsAlert              bool // and does nothing else
	shutsDown, checksClose  bool // sends close_notify at once; reads on up to the peer's
	writesFirst, holdsWrite bool // before it reads; only one byte of the record is sent before the next write
	isAsync                 bool // reads a byte at a time
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(unimplemented)
	}
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bogoshim", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	o.host = "127.0.0.1"
	f.BoolFunc("ipv6", "", func(string) error { o.host = "::1"; return nil })
	f.StringVar(&o.port, "port", "", "")
	f.Uint64Var(&o.id, "shim-id", 0, "")
	f.BoolVar(&o.isServer, "server", false, "")
	f.StringVar(&o.keyFile, "key-file", "", "")
	f.StringVar(&o.certFile, "cert-file", "", "")
	f.StringVar(&o.trustCert, "trust-cert", "", "")
	f.BoolVar(&o.sendsAlert, "send-alert", false, "")
	f.BoolVar(&o.shutsDown, "shim-shuts-down", false, "")
	f.BoolVar(&o.checksClose, "check-close-notify", false, "")
	f.BoolVar(&o.writesFirst, "shim-writes-first", false, "")
	f.BoolVar(&o.holdsWrite, "read-with-unfinished-write", false, "")
	f.BoolVar(&o.isAsync, "async", false, "")
	f.Bool("implicit-handshake", false, "") // no difference: the first read or write would make it
	f.Bool("renegotiate-freely", false, "") // no difference: there is no renegotiation in TLS 1.3
	f.BoolFunc("is-handshaker-supported", "", func(string) error {
		fmt.Println("No")
		os.Exit(0)
		return nil
	})
	return o, f.Parse(args)
}

// run connects to the runner, and does there what the flags say.
func (o *options) run() error {
	config, err := o.config()
	if err != nil {
		return err
	}
	tcp, err := net.Dial("tcp", net.JoinHostPort(o.host, o.port))
	if err != nil {
		return err
	}
	defer tcp.Close()
	w := &wire{TCPConn: tcp.(*net.TCPConn), isAsync: o.isAsync}
	if _, err := tcp.Write(binary.LittleEndian.AppendUint64(nil, o.id)); err != nil {
		return err
	}
	err = o.session(w, config)
	// The runner may write before it reads an alert. Closed at once, the connection would be reset, and the alert lost.
	_ = w.CloseWrite()
	_, _ = io.Copy(io.Discard, w.TCPConn)
	return err
}

func (o *options) config() (*tls.Config, error) {
	config := &tls.Config{ServerName: "test"}
	if o.certFile != "" {
		pair, err := tls.LoadX509KeyPair(o.certFile, o.keyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if o.trustCert != "" {
		roots, err := os.ReadFile(o.trustCert)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(roots)
	}
	return config, nil
}

// session makes the handshake, and then does what BoringSSL's own shim does: it returns what comes, each byte XOR 0xff, up to the end.
func (o *options) session(w *wire, config *tls.Config) error {
	side := tls.Client
	if o.isServer {
		side = tls.Server
	}
	conn := side(w, config)
	if err := conn.Handshake(); err != nil {
		return err
	}
	s := &stream{wire: w, layer: record.NewLayer()}
	var isTaken bool
	if s.conn, s.content, s.records, isTaken = record.Take(conn); !isTaken {
		os.Exit(unimplemented)
	}
	if o.sendsAlert {
		const decompressionFailure = 30
		return s.alert(decompressionFailure)
	}
	if o.writesFirst || o.holdsWrite {
		w.holds = o.holdsWrite
		if err := s.write([]byte("hello")); err != nil {
			return err
		}
	}
	for p := make([]byte, 512); !o.shutsDown; {
		n, err := s.Read(p)
		if errors.Is(err, io.EOF) {
			break
		}
		for i := range p[:n] {
			p[i] ^= 0xff
		}
		if err == nil {
			err = s.write(p[:n])
		}
		if err != nil {
			return err
		}
	}
	err := s.alert(record.CloseNotify)
	if err == nil && o.shutsDown && o.checksClose {
		_, err = io.Copy(io.Discard, s)
	}
	return err
}

// A stream is a connection that record has taken.
type stream struct {
	wire    *wire
	layer   *record.Layer
	conn    record.Conn
	content []byte // opened and not read
	records []byte // come and not opened
	err     error  // after content
}

// Read implements io.Reader. It returns io.EOF after close_notify, and where the connection ends between two records.
func (s *stream) Read(p []byte) (int, error) {
	for len(s.content) == 0 && s.err == nil {
		s.open()
	}
	if len(s.content) == 0 {
		return 0, s.err
	}
	n := copy(p, s.content)
	s.content = s.content[n:]
	return n, nil
}

// open opens the records that have come, or waits for more if none has come whole.
func (s *stream) open() {
	content, consumed, err := s.layer.Open(&s.conn, make([]byte, 0, len(s.records)), s.records)
	s.content, s.records = content, s.records[consumed:]
	fault := new(record.Fault)
	switch {
	case errors.Is(err, record.ErrKeyUpdate): // how many there may be is no matter of record
	case errors.As(err, &fault):
		s.err = errors.Join(err, s.alert(fault.Alert))
	case err != nil:
		s.err = err
	case consumed == 0:
		p := make([]byte, record.MaxBytes)
		n, err := s.wire.Read(p)
		s.records = append(s.records, p[:n]...)
		if s.err = err; errors.Is(err, io.EOF) && len(s.records) > 0 {
			s.err = io.ErrUnexpectedEOF
		}
	}
}

func (s *stream) write(p []byte) error {
	_, err := s.wire.Write(s.layer.Seal(&s.conn, nil, [][]byte{p}))
	return err
}

func (s *stream) alert(a record.Alert) error {
	_, err := s.wire.Write(s.layer.Alert(&s.conn, nil, a))
	return err
}

// wire is the connection below TLS.
type wire struct {
	*net.TCPConn
	isAsync bool
	holds   bool // the next Write sends one byte, and the one after it the others
	held    []byte
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if w.isAsync {
		p = p[:min(len(p), 1)]
	}
	return w.TCPConn.Read(p)
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	out := append(w.held, p...)
	w.held = nil
	if w.holds {
		w.holds = false
		out, w.held = out[:1], out[1:]
	}
	_, err := w.TCPConn.Write(out)
	return len(p), err
}
