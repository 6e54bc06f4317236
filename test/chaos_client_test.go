//go:build unix

package test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// A chaosClient is a client that does one random act after another. Owned by its goroutine.
type chaosClient struct {
	chaos    *chaos
	index    uint64
	dice            // of the act under way
	seed     uint64 // of dice
	sessions tls.ClientSessionCache
}

// run acts until the traffic stops. Each act has dice of its own, whose seed derives from that of the run.
func (k *chaosClient) run(stopped <-chan struct{}) {
	acts := newDice(k.chaos.seed, k.index)
	for {
		k.seed = acts.Uint64()
		k.dice = newDice(k.seed, 0)
		k.act()
		select {
		case <-stopped:
			return
		case <-time.After(acts.within(60 * time.Millisecond)):
		}
	}
}

func (k *chaosClient) act() {
	view, isThere := k.chaos.anyListener(k.dice)
	if !isThere {
		return
	}
	k.chaos.acts.Add(1)
	if k.oneIn(30) {
		view = listenerView{Address: k.chaos.gateway.admin}
	}
	switch k.IntN(16) {
	case 0:
		k.garbage(view)
	case 1:
		k.halfTLS(view)
	case 2, 3:
		k.oddHead(view)
	case 4, 5, 6:
		k.requests(view)
	default:
		k.session(view)
	}
}

// dial connects with a PROXY header and TLS where the listener expects them, and now and then where it does not. It returns nil if the
// connection fails.
func (k *chaosClient) dial(view listenerView) *chaosEnd {
	socket := k.connect(view)
	if socket == nil {
		return nil
	}
	e := &chaosEnd{socket: socket, conn: socket, report: k.chaos.report}
	e.mayWait()
	if view.ProxyProtocol != k.oneIn(40) && !e.send(k.proxyHeader()) {
		_ = socket.Close()
		return nil
	}
	if view.TLS != k.oneIn(40) {
		conn := tls.Client(socket, k.tlsConfig())
		if conn.Handshake() != nil {
			_ = socket.Close()
			return nil
		}
		e.conn = conn
	}
	e.reader = bufio.NewReaderSize(e.conn, 16<<10)
	return e
}

// connect opens a socket from one of several addresses, and returns nil if that fails.
func (k *chaosClient) connect(view listenerView) net.Conn {
	d := net.Dialer{Timeout: chaosPatience}
	network, address := "tcp", view.Address
	if strings.HasPrefix(address, "/") {
		network = "unix"
	} else {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(k.between(1, 5)))}
	}
	conn, err := d.Dial(network, address)
	if err != nil {
		return nil
	}
	return conn
}

func (k *chaosClient) proxyHeader() string {
	const v2 = "\r\n\r\n\x00\r\nQUIT\n"
	text := one(k.dice, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n", "PROXY TCP6 2001:db8::1 2001:db8::2 1000 80\r\n", "PROXY UNKNOWN\r\n",
		v2+"\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x00\x50", v2+"\x20\x00\x00\x00",
		v2+"\x21\x11\x00\x10\xc0\x00\x02\x01\xc0\x00\x02\x02\x03\xe8\x00\x50\x04\x00\x01\x00")
	if k.oneIn(12) {
		return k.mutate(text)
	}
	return text
}

func (k *chaosClient) tlsConfig() *tls.Config {
	config := &tls.Config{
		InsecureSkipVerify: true, ClientSessionCache: k.sessions,
		ServerName: one(k.dice, "localhost", "localhost", "other.test", "nowhere.test"),
		MaxVersion: one[uint16](k.dice, tls.VersionTLS12, tls.VersionTLS13, tls.VersionTLS13),
		NextProtos: one(k.dice, nil, nil, []string{"http/1.1"}, []string{"h2", "http/1.1"}, []string{"h2"}),
	}
	if k.oneIn(2) {
		config.Certificates = []tls.Certificate{*k.chaos.site.certificate[1].certificate()}
	}
	return config
}

// session asks for a session and, if it gets one, runs the client's end of it.
func (k *chaosClient) session(view listenerView) {
	e := k.dial(view)
	if e == nil {
		return
	}
	defer e.conn.Close()
	text, key := k.upgradeHead(k.seed)
	f := &drawer{dice: k.split(), isMasked: true}
	start := f.next
	if k.oneIn(6) { // a frame before the 101
		text += string(f.frame())
	}
	if !k.sendSplit(e, text) {
		return
	}
	response, err := http.ReadResponse(e.reader, nil)
	if err != nil {
		e.judge(err)
		return
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		_, _ = io.CopyN(io.Discard, response.Body, 100_000)
		return
	}
	if got := response.Header.Get("Sec-WebSocket-Accept"); got != acceptOf(key) {
		k.chaos.report("seed %d: a 101 with Accept %q for the key %q", k.seed, got, key)
	}
	k.chaos.sessions.Add(1)
	if conn, isTLS := e.conn.(*tls.Conn); isTLS && conn.ConnectionState().Version == tls.VersionTLS13 {
		k.chaos.secured.Add(1)
	}
	if response.Header.Get("X-Steady") == "" || k.oneIn(3) {
		e.converse(f)
		return
	}
	k.compare(e, f, start)
}

// compare sends messages to a backend that echoes them, and compares the echoes until the session ends.
func (k *chaosClient) compare(e *chaosEnd, f *drawer, start int) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		at := start
		for {
			_ = e.conn.SetReadDeadline(time.Now().Add(chaosPatience))
			frame, err := readFrame(e.reader)
			if err != nil {
				e.judge(err)
				return
			}
			switch opcode := frame.Header.OpCode; {
			case opcode == ws.OpPing || opcode == ws.OpClose:
				e.answer(frame)
			case opcode == ws.OpPong:
			case at+len(frame.Payload) > len(chaosNoise) || !bytes.Equal(frame.Payload, chaosNoise[at:at+len(frame.Payload)]):
				k.chaos.report("seed %d: a frame of %d bytes was altered, after %d bytes of payload", k.seed, len(frame.Payload), at-start)
				return
			default:
				at += len(frame.Payload)
			}
		}
	}()
	for range k.between(1, 12) {
		if !e.send(string(f.frame())) {
			break
		}
	}
	if k.oneIn(2) {
		e.send(string(f.closeFrame()))
		select {
		case <-ended:
		case <-time.After(chaosPatience / 2):
		}
	}
	e.leave(k.dice)
	<-ended
}

// sendSplit sends a text in one piece or in several.
func (k *chaosClient) sendSplit(e *chaosEnd, text string) bool {
	for k.oneIn(4) && len(text) > 1 {
		n := k.between(1, len(text)-1)
		if !e.send(text[:n]) {
			return false
		}
		text = text[n:]
		time.Sleep(k.within(20 * time.Millisecond))
	}
	return e.send(text)
}

// oddHead sends a head that is malformed or truncated, or several heads at once.
func (k *chaosClient) oddHead(view listenerView) {
	e := k.dial(view)
	if e == nil {
		return
	}
	defer e.leave(k.dice)
	text, _ := k.upgradeHead(k.seed)
	if k.oneIn(2) {
		text = k.plainHead(k.seed, one(k.dice, "GET", "HEAD", "BREW"))
	}
	switch k.IntN(3) {
	case 0:
		text = text[:k.IntN(len(text))]
	case 1:
		text = strings.Repeat(text, k.between(1, 5))
	default:
		text = k.mutate(text)
	}
	if k.sendSplit(e, text) && k.oneIn(2) {
		e.drain()
	}
}

// requests sends plain requests, one after another or pipelined, and perhaps a handshake after them.
func (k *chaosClient) requests(view listenerView) {
	e := k.dial(view)
	if e == nil {
		return
	}
	defer e.leave(k.dice)
	if k.oneIn(5) {
		var all strings.Builder
		for range k.between(2, 6) {
			all.WriteString(k.plainHead(k.seed, "GET"))
		}
		if k.sendSplit(e, all.String()) {
			e.drain()
		}
		return
	}
	for range k.between(1, 5) {
		method := one(k.dice, "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT", "TRACE")
		lines, body := k.body()
		e.mayWait()
		if !k.sendSplit(e, k.plainHead(k.seed, method, lines...)+body) {
			return
		}
		response, err := http.ReadResponse(e.reader, &http.Request{Method: method})
		if err != nil {
			e.judge(err)
			return
		}
		if _, err := io.CopyN(io.Discard, response.Body, int64(k.between(0, 1<<20))); err != nil && !errors.Is(err, io.EOF) || response.Close {
			return
		}
	}
	text, _ := k.upgradeHead(k.seed)
	if e.send(text) {
		e.drain()
	}
}

// garbage sends bytes of other protocols, or of none.
func (k *chaosClient) garbage(view listenerView) {
	socket := k.connect(view)
	if socket == nil {
		return
	}
	e := &chaosEnd{socket: socket, conn: socket, reader: bufio.NewReader(socket), report: k.chaos.report}
	defer e.leave(k.dice)
	text := one(k.dice, "", k.octets(k.between(1, 3000)), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", k.proxyHeader(),
		"\x16\x03\x01"+k.octets(k.between(0, 600)), "\x16\x03\x01\x40\x00\x01"+k.octets(3), "\r\n\r\n\r\n", "SSH-2.0-OpenSSH_9\r\n",
		strings.Repeat("A", k.between(1, 70_000)))
	e.send(text)
	if k.oneIn(3) {
		e.drain()
	}
}

// halfTLS breaks off or alters a TLS handshake, or the first records after it.
func (k *chaosClient) halfTLS(view listenerView) {
	socket := k.connect(view)
	if socket == nil {
		return
	}
	e := &chaosEnd{socket: socket, conn: socket, reader: bufio.NewReader(socket), report: k.chaos.report}
	defer e.leave(k.dice)
	if view.ProxyProtocol {
		e.send(k.proxyHeader())
	}
	tap := &breakingConn{Conn: socket, left: k.between(1, 4000), isAltering: k.oneIn(2)}
	_ = socket.SetDeadline(time.Now().Add(chaosPatience / 2))
	conn := tls.Client(tap, k.tlsConfig())
	if conn.Handshake() != nil {
		return
	}
	text, _ := k.upgradeHead(k.seed)
	_, _ = io.WriteString(conn, text+string((&drawer{dice: k.dice, isMasked: true}).frame()))
	_, _ = fmt.Fprint(socket, k.octets(k.between(0, 100)))
	_, _ = conn.Read(make([]byte, 1000))
}

// A breakingConn fails after left bytes were written, or alters one byte there.
type breakingConn struct {
	net.Conn
	left       int
	isAltering bool
}

func (c *breakingConn) Write(p []byte) (int, error) {
	if c.left < len(p) {
		n := max(c.left, 0)
		c.left = 0
		if !c.isAltering {
			_, _ = c.Conn.Write(p[:n])
			return n, os.ErrDeadlineExceeded
		}
		p = bytes.Clone(p)
		p[n] ^= 0x10
		c.left = len(p) + 1
	}
	c.left -= len(p)
	return c.Conn.Write(p)
}
