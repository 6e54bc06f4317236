//go:build unix

package test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A chaosBackend is a backend in the process of the test. The seed in a request decides what it does, so that one seed describes both
// ends of a session. A steady backend always behaves.
type chaosBackend struct {
	ln       net.Listener
	secure   *tls.Config // nil: it speaks no TLS
	isSteady bool
	report   func(format string, args ...any) // fails the test

	mu    sync.Mutex
	conns map[net.Conn]bool // guarded by mu
	drawn uint64            // guarded by mu; requests without a seed
}

// chaosPatience bounds how long a peer of the gateway waits for anything before it closes the connection.
const chaosPatience = 3 * time.Second

func startChaosBackend(t *testing.T, network, address string, b *chaosBackend) string {
	t.Helper()
	var err error
	if b.ln, err = net.Listen(network, address); err != nil {
		t.Fatal(err)
	}
	b.conns = map[net.Conn]bool{}
	go b.serve()
	t.Cleanup(func() { _ = b.ln.Close(); b.cut() })
	switch {
	case network == "unix":
		return "unix:" + address
	case b.secure != nil:
		return "wss://" + b.ln.Addr().String()
	default:
		return b.ln.Addr().String()
	}
}

// cut closes every connection.
func (b *chaosBackend) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		_ = c.Close()
	}
}

func (b *chaosBackend) serve() {
	for {
		c, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[c] = true
		b.mu.Unlock()
		go b.receive(c)
	}
}

func (b *chaosBackend) receive(c net.Conn) {
	defer func() {
		_ = c.Close()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	e := &chaosEnd{socket: c, conn: c, reader: bufio.NewReaderSize(c, 32<<10), report: b.report}
	e.mayWait()
	if !b.skipProxyHeader(e.reader) {
		return
	}
	if b.secure != nil {
		conn := tls.Server(&bufferedConn{c, e.reader}, b.secure)
		if conn.Handshake() != nil {
			return
		}
		e.conn, e.reader = conn, bufio.NewReaderSize(conn, 32<<10)
	}
	for {
		e.mayWait()
		request, err := http.ReadRequest(e.reader)
		if err != nil {
			e.judge(err)
			return
		}
		d := b.diceOf(request)
		if strings.EqualFold(request.Header.Get("Upgrade"), "websocket") {
			b.answerUpgrade(e, d, request)
			return
		}
		if !b.answerPlain(e, d, request) {
			return
		}
	}
}

// A bufferedConn reads from a buffered reader of its connection.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// skipProxyHeader discards a PROXY header of version 2, if there is one, and reports whether the connection is still good.
func (b *chaosBackend) skipProxyHeader(r *bufio.Reader) bool {
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	if p, err := r.Peek(1); err != nil || p[0] != signature[0] {
		return err == nil
	}
	p, err := r.Peek(16)
	if err != nil || !bytes.HasPrefix(p, []byte(signature)) {
		return false
	}
	_, err = r.Discard(16 + int(binary.BigEndian.Uint16(p[14:])))
	return err == nil
}

// diceOf returns the dice that decide about a request.
func (b *chaosBackend) diceOf(request *http.Request) dice {
	seed, err := strconv.ParseUint(request.Header.Get("X-Seed"), 10, 64)
	if err != nil {
		b.mu.Lock()
		b.drawn++
		seed = b.drawn
		b.mu.Unlock()
	}
	return newDice(seed, 1)
}

// answerUpgrade answers a handshake and, if that becomes a session, runs the backend's end of it.
func (b *chaosBackend) answerUpgrade(e *chaosEnd, d dice, request *http.Request) {
	lines := []string{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: " + acceptOf(request.Header.Get("Sec-WebSocket-Key"))}
	if protocols := request.Header.Get("Sec-WebSocket-Protocol"); protocols != "" && d.oneIn(2) {
		protocol, _, _ := strings.Cut(protocols, ",")
		lines = append(lines, "Sec-WebSocket-Protocol: "+strings.TrimSpace(protocol))
	}
	if b.isSteady {
		e.send(head(append([]string{"HTTP/1.1 101 Switching Protocols", "X-Steady: yes"}, lines...)...))
		e.echo()
		return
	}
	if d.oneIn(4) {
		b.refuse(e, d, head(append([]string{"HTTP/1.1 101 Switching Protocols"}, lines...)...))
		return
	}
	if d.oneIn(8) {
		time.Sleep(d.within(300 * time.Millisecond))
	}
	lines = append(lines, some(d, 2, "Set-Cookie: a=b", "X-Long: "+strings.Repeat("l", d.between(0, 3000)), "Server: chaos")...)
	if strings.Contains(request.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") && d.oneIn(2) || d.oneIn(30) {
		lines = append(lines, "Sec-WebSocket-Extensions: permessage-deflate")
	}
	answer := head(append([]string{"HTTP/1.1 101 " + one(d, "Switching Protocols", "")}, lines...)...)
	f := &drawer{dice: d}
	if d.oneIn(4) { // early frames
		answer += string(f.frame())
	}
	e.send(answer)
	e.converse(f)
}

// refuse answers a handshake with something other than the valid 101.
func (b *chaosBackend) refuse(e *chaosEnd, d dice, right string) {
	switch d.IntN(9) {
	case 0: // silence
		_, _ = io.Copy(io.Discard, e.reader)
	case 1:
		status := one(d, 200, 204, 301, 400, 401, 404, 426, 500, 502, 503, 599)
		body := d.letters(d.between(0, 3000))
		e.send(head(fmt.Sprintf("HTTP/1.1 %d Refused", status), fmt.Sprintf("Content-Length: %d", len(body))) + body)
	case 2:
		e.send(right[:d.IntN(len(right))])
	case 3:
		e.send(d.mutate(right))
	case 4:
		e.send(d.octets(d.between(1, 2000)))
	case 5: // a body that is truncated, or has no length
		e.send(head("HTTP/1.1 503 Busy", one(d, "Content-Length: 5000", "Transfer-Encoding: chunked", "X-None: 1")) + d.letters(d.between(0, 2000)))
	case 6:
		e.send(head("HTTP/1.1 100 Continue") + one(d, right, head("HTTP/1.1 103 Early Hints")+right))
		e.converse(&drawer{dice: d})
	case 7:
		e.send("HTTP/1.1 101 Switching Protocols\r\nX-Long: " + strings.Repeat("l", 70_000))
	}
	e.leave(d)
}

// answerPlain answers a plain request, and reports whether the connection may carry another one.
func (b *chaosBackend) answerPlain(e *chaosEnd, d dice, request *http.Request) bool {
	if b.isSteady || d.oneIn(2) {
		n, err := io.Copy(io.Discard, request.Body)
		return err == nil && e.send(head("HTTP/1.1 200 OK", "Content-Length: 2")+"ok") && n >= 0
	}
	if d.oneIn(2) { // otherwise it answers before it has read the body
		_, _ = io.CopyN(io.Discard, request.Body, int64(d.between(0, 100_000)))
	}
	body := d.letters(d.size() / 2)
	status := fmt.Sprintf("HTTP/1.1 %03d Whatever", one(d, 200, 200, 201, 204, 206, 301, 304, 401, 404, 500, 503, 999, 42, 0))
	switch d.IntN(9) {
	case 0:
		e.send(head(status, fmt.Sprintf("Content-Length: %d", len(body))) + body)
	case 1:
		e.send(head(status, "Transfer-Encoding: chunked", "Trailer: X-Sum") + d.chunked(body))
	case 2: // until the connection ends
		e.send(head(status, "Connection: close", "Content-Type: text/event-stream") + body)
	case 3: // truncated
		e.send(head(status, fmt.Sprintf("Content-Length: %d", len(body)+7)) + body)
	case 4:
		e.send(head(status, "Transfer-Encoding: chunked") + d.mutate(d.chunked(body)))
	case 5:
		e.send(head("HTTP/1.1 103 Early Hints", "Link: </x>") + head("HTTP/1.1 100 Continue") + head(status, "Content-Length: 0"))
	case 6:
		e.send(head("HTTP/1.1 101 Switching Protocols", "Upgrade: h2c", "Connection: Upgrade") + body)
	case 7:
		e.send(d.mutate(head(status, "Content-Length: 5", "Content-Length: 5", "Connection: X-A, keep-alive", "X-A: 1", "Set-Cookie: a=b") + "12345"))
	default: // a stream of events
		e.send(head(status, "Content-Type: text/event-stream", "Transfer-Encoding: chunked"))
		for range d.between(0, 10) {
			if !e.send("5\r\ndata\n\r\n") {
				break
			}
			time.Sleep(d.within(40 * time.Millisecond))
		}
	}
	e.leave(d)
	return false
}

// echo sends every data frame back, answers pings, and closes when the client does.
func (e *chaosEnd) echo() {
	for {
		e.mayWait()
		f, err := readFrame(e.reader)
		if err != nil {
			e.judge(err)
			return
		}
		f = ws.UnmaskFrame(f)
		switch f.Header.OpCode {
		case ws.OpPong:
			continue
		case ws.OpPing:
			f.Header.OpCode = ws.OpPong
		}
		if ws.WriteFrame(e.conn, f) != nil || f.Header.OpCode == ws.OpClose {
			return
		}
	}
}
