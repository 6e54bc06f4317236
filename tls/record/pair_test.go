package record

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for the names of crypto/tls below
)

// crypto/tls has no setting for the cipher suites of TLS 1.3. These are what it offers and prefers, on machines with and without
// instructions for AES; crypto/tls promises to keep the names.
var (
	//go:linkname defaultCipherSuites crypto/tls.defaultCipherSuitesTLS13
	defaultCipherSuites []uint16
	//go:linkname defaultCipherSuitesNoAES crypto/tls.defaultCipherSuitesTLS13NoAES
	defaultCipherSuitesNoAES []uint16
)

// withSuite runs f while crypto/tls knows one cipher suite of TLS 1.3. Tests that use it don't run in parallel.
func withSuite(id uint16, f func()) {
	backup, backupNoAES := defaultCipherSuites, defaultCipherSuitesNoAES
	defer func() { defaultCipherSuites, defaultCipherSuitesNoAES = backup, backupNoAES }()
	defaultCipherSuites, defaultCipherSuitesNoAES = []uint16{id}, []uint16{id}
	f()
}

// errAgain is what a connection that would block returns.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "again" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// A wire is one end of a connection in memory. Its reads block until isQuiet is set; then they return errAgain if nothing has come.
type wire struct {
	memory
	isQuiet bool
}

func (w *wire) Read(p []byte) (int, error) {
	if w.isQuiet && len(w.rest) == 0 && len(w.in) == 0 {
		return 0, errAgain
	}
	return w.memory.Read(p)
}

// SetWriteDeadline implements net.Conn. No write blocks.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// send sends bytes to the other end.
func (w *wire) send(t testing.TB, p []byte) {
	t.Helper()
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
}

// newWires returns both ends of a connection, for many unread writes.
func newWires() (a, b *wire) {
	toA, toB := make(chan []byte, 4096), make(chan []byte, 4096)
	return &wire{memory: memory{in: toA, out: toB}}, &wire{memory: memory{in: toB, out: toA}}
}

// certificate returns a certificate of both ends, which signs itself, and the pool that knows it.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

// A pair is a connection between two ends of crypto/tls.
type pair struct {
	server, client         *tls.Conn
	serverWire, clientWire *wire
}

// configs returns the configurations of a server and a client that trusts it, and asks for a session ticket.
func configs() (server, client *tls.Config) {
	cert, pool := certificate()
	return &tls.Config{Certificates: []tls.Certificate{cert}},
		&tls.Config{RootCAs: pool, ServerName: "example.com", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

// newPair makes the handshake of two ends.
func newPair(t testing.TB, server, client *tls.Config) *pair {
	t.Helper()
	p := &pair{}
	p.serverWire, p.clientWire = newWires()
	p.server, p.client = tls.Server(p.serverWire, server), tls.Client(p.clientWire, client)
	if err := shake([2]*tls.Conn{p.server, p.client}, [2]*memory{&p.serverWire.memory, &p.clientWire.memory}); err != nil {
		t.Fatal(err)
	}
	p.serverWire.isQuiet, p.clientWire.isQuiet = true, true
	return p
}

// ends returns the end that a test takes, and the other one.
func (p *pair) ends(takesClient bool) (ours, theirs *tls.Conn, oursWire *wire) {
	if takesClient {
		return p.client, p.server, p.clientWire
	}
	return p.server, p.client, p.serverWire
}

// readAll reads all that has come to an end of crypto/tls.
func readAll(t testing.TB, conn *tls.Conn) []byte {
	t.Helper()
	var got []byte
	p := make([]byte, 1<<14)
	for {
		n, err := conn.Read(p)
		got = append(got, p[:n]...)
		if err == errAgain {
			return got
		}
		if err != nil {
			t.Fatalf("crypto/tls: Read after %d bytes: %v", len(got), err)
		}
	}
}

// A link is a connection between an end that was taken, ours, and one of crypto/tls, theirs.
type link struct {
	testing.TB
	layer   *Layer
	conn    Conn
	wire    *wire  // ours
	content []byte // of theirs, opened
	records []byte // of theirs, not opened
	updates int    // of their keys
	theirs  *tls.Conn
}

// newLink takes an end of a pair.
func newLink(t testing.TB, p *pair, takesClient bool) *link {
	t.Helper()
	x := &link{TB: t, layer: NewLayer()}
	var ours *tls.Conn
	ours, x.theirs, x.wire = p.ends(takesClient)
	var isTaken bool
	if x.conn, x.content, x.records, isTaken = Take(ours); !isTaken {
		t.Fatal("the connection can't be taken")
	}
	return x
}

// write has ours send data, in spans.
func (x *link) write(spans ...[]byte) {
	x.Helper()
	x.wire.send(x, x.layer.Seal(&x.conn, nil, spans))
}

// requestUpdate has ours change its keys, and ask theirs to do so, too, which no Layer does.
func (x *link) requestUpdate() {
	x.Helper()
	record := append(append(appendHeader(nil, keyUpdateBytes), keyUpdate(1)...), typeHandshake)
	x.wire.send(x, x.layer.seal(&x.conn, record, 0))
	x.conn.out.update(x.conn.suite)
}

// read opens what theirs has sent, at most n bytes at a time, or all for n = 0. It returns the error of Open.
func (x *link) read(n int) error {
	x.Helper()
	x.records = append(x.records, x.wire.takeAll()...)
	if n == 0 {
		n = len(x.records)
	}
	var came []byte
	for len(x.records) > 0 {
		n := min(n, len(x.records))
		came = append(came, x.records[:n]...)
		x.records = x.records[n:]
		var consumed, updates int
		var err error
		x.content, consumed, updates, err = openAll(x.layer, &x.conn, x.content, came)
		came = came[consumed:]
		x.updates += updates
		if err != nil {
			x.records = append(came, x.records...)
			return err
		}
	}
	x.records = came
	return nil
}

// checkSecrets checks that both ends are at the same keys.
func (x *link) checkSecrets() {
	x.Helper()
	n := suites[x.conn.suite].hashBytes
	for _, side := range []struct {
		name   string
		ours   *half
		theirs halfLayout
	}{{"our", &x.conn.out, theLayout.in}, {"their", &x.conn.in, theLayout.out}} {
		if theirs := *at[[]byte](x.theirs, side.theirs.secret); !bytes.Equal(side.ours.secret[:n], theirs) {
			x.Errorf("the secret of %s direction is %x here, and %x there", side.name, side.ours.secret[:n], theirs)
		}
	}
}

// end has both ends send close_notify, and checks that they read it.
func (x *link) end() {
	x.Helper()
	x.wire.send(x, x.layer.Alert(&x.conn, nil, CloseNotify))
	if n, err := x.theirs.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		x.Errorf("crypto/tls: Read = %d, %v; want io.EOF after our close_notify", n, err)
	}
	if err := x.theirs.CloseWrite(); err != nil {
		x.Error(err)
	}
	if err := x.read(0); err != io.EOF || len(x.records) > 0 {
		x.Errorf("%d bytes are left, %v; want io.EOF after their close_notify", len(x.records), err)
	}
}

// A template is a pair of which many connections can be made without a handshake.
type template struct{ pair }

// templates are those of each cipher suite.
var templates = sync.OnceValue(func() map[uint16]*template {
	all := map[uint16]*template{}
	for _, id := range suiteIDs {
		server, client := configs()
		server.SessionTicketsDisabled = true // a test that wants some makes a handshake
		withSuite(id, func() { all[id] = &template{*newPair(panicking{}, server, client)} })
	}
	return all
})

// panicking is where a failure has no test.
type panicking struct{ testing.TB }

func (panicking) Helper()           {}
func (panicking) Fatal(args ...any) { panic(args) }

// link returns a connection as it was after the handshake. The one before must not be used any more.
func (m *template) link(t testing.TB, takesClient bool) *link {
	m.serverWire.takeAll()
	m.clientWire.takeAll()
	fresh := m.pair
	fresh.server, fresh.client = copied(m.server), copied(m.client)
	return newLink(t, &fresh, takesClient)
}

// copied returns a copy of a connection between two records, without the buffers, which it would share.
func copied(conn *tls.Conn) *tls.Conn {
	c := new(tls.Conn)
	reflect.ValueOf(c).Elem().Set(reflect.ValueOf(conn).Elem())
	*at[bytes.Buffer](c, theLayout.rawInput) = bytes.Buffer{}
	*at[bytes.Buffer](c, theLayout.hand) = bytes.Buffer{}
	for _, half := range []halfLayout{theLayout.in, theLayout.out} {
		secret := at[[]byte](c, half.secret)
		*secret = slices.Clone(*secret)
	}
	return c
}
