//go:build unix

package test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// A chaosEnd is the peer's end of a connection with the gateway. One goroutine reads; any may send.
type chaosEnd struct {
	socket net.Conn // below TLS
	conn   net.Conn // the TLS connection, or socket without TLS
	reader *bufio.Reader
	report func(format string, args ...any) // fails the test

	writing sync.Mutex
}

// mayWait bounds the next reads and writes.
func (e *chaosEnd) mayWait() { _ = e.conn.SetDeadline(time.Now().Add(chaosPatience)) }

// send writes text, and reports whether the connection took it.
func (e *chaosEnd) send(text string) bool {
	e.writing.Lock()
	defer e.writing.Unlock()
	_ = e.conn.SetWriteDeadline(time.Now().Add(chaosPatience))
	_, err := io.WriteString(e.conn, text)
	return err == nil
}

// judge fails the test for a read error that shows bytes other than TLS records, such as plain text. A record that was truncated, with
// an alert after it, is no fault.
func (e *chaosEnd) judge(err error) {
	if header := (tls.RecordHeaderError{}); errors.As(err, &header) {
		e.report("the gateway sent bytes over TLS to %v that are no record: %v", e.socket.LocalAddr(), err)
	}
}

// breakTLS sends what no end of TLS has sealed: a record that is not authentic, a part of one, or no record at all. Without TLS it is
// garbage.
func (e *chaosEnd) breakTLS(d dice) {
	n := d.between(0, 18_000)
	text := one(d, "\x17\x03\x03"+string(binary.BigEndian.AppendUint16(nil, uint16(n))), "\x15\x03\x03\x00\x02\x02\x50", "") + d.octets(d.between(0, n))
	e.writing.Lock()
	defer e.writing.Unlock()
	_ = e.socket.SetWriteDeadline(time.Now().Add(chaosPatience))
	_, _ = io.WriteString(e.socket, text)
}

// leave ends the connection: by a close, with or without TLS's own, by a half-close first, or by a reset.
func (e *chaosEnd) leave(d dice) {
	switch d.IntN(4) {
	case 0:
		e.reset()
	case 1:
		if half, canHalf := e.conn.(interface{ CloseWrite() error }); canHalf {
			_ = half.CloseWrite()
			time.Sleep(d.within(chaosPatience / 10))
		}
	case 2:
		_ = e.socket.Close() // without close_notify
	}
	_ = e.conn.Close()
}

func (e *chaosEnd) reset() {
	if c, isTCP := e.socket.(*net.TCPConn); isTCP {
		_ = c.SetLinger(0)
	}
	_ = e.socket.Close()
}

// drain reads until the stream ends, for a limited time.
func (e *chaosEnd) drain() {
	_ = e.conn.SetReadDeadline(time.Now().Add(chaosPatience / 2))
	_, err := io.Copy(io.Discard, e.reader)
	e.judge(err)
}

// converse runs one end of a session: it sends some frames, valid ones and perhaps a fault, while listen reads, and then ends the
// session in one of several ways or waits for its end.
func (e *chaosEnd) converse(f *drawer) {
	listener := f.split()
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		e.listen(listener)
	}()
	for range f.between(0, 12) {
		p := f.frame()
		if f.oneIn(40) {
			p = f.fault()
		}
		if f.oneIn(60) && len(p) > 0 { // the connection ends inside a frame
			e.send(string(p[:f.IntN(len(p))]))
			e.leave(f.dice)
			break
		}
		if !e.send(string(p)) {
			break
		}
		if f.oneIn(3) {
			time.Sleep(f.within(15 * time.Millisecond))
		}
	}
	switch f.IntN(7) {
	case 0, 1:
		e.send(string(f.closeFrame()))
	case 2:
		e.send(string(f.fault()))
	case 3:
		e.leave(f.dice)
	case 4: // something else ends the session
	case 5:
		e.send(string(f.frame()) + string(f.closeFrame()) + f.octets(f.between(0, 100)))
	case 6:
		e.breakTLS(f.dice)
	}
	select {
	case <-listening:
	case <-time.After(f.within(chaosPatience / 2)):
	}
	e.leave(f.dice)
	<-listening
}

// listen reads until the session ends. It reads fast, slowly or, for a while, not at all, and answers pings and closes or ignores them.
func (e *chaosEnd) listen(d dice) {
	_ = e.conn.SetReadDeadline(time.Now().Add(chaosPatience))
	manner := d.IntN(8)
	if manner == 0 { // it reads nothing for a while
		time.Sleep(d.within(chaosPatience / 3))
	}
	if manner <= 1 {
		p := make([]byte, d.between(1, 8<<10))
		for {
			if _, err := e.reader.Read(p); err != nil {
				e.judge(err)
				return
			}
			time.Sleep(d.within(2 * time.Millisecond))
		}
	}
	if manner == 2 { // it ignores pings and closes
		_, err := io.Copy(io.Discard, e.reader)
		e.judge(err)
		return
	}
	for {
		f, err := readFrame(e.reader)
		if err != nil {
			e.judge(err)
			return
		}
		if f.Header.OpCode == ws.OpPing || f.Header.OpCode == ws.OpClose {
			e.answer(f)
		}
	}
}

// answer answers a ping or a close.
func (e *chaosEnd) answer(f ws.Frame) {
	isClient := !f.Header.Masked
	f = ws.UnmaskFrame(f)
	if f.Header.OpCode == ws.OpPing {
		f.Header.OpCode = ws.OpPong
	}
	if isClient {
		f = ws.MaskFrame(f)
	}
	var b bytes.Buffer
	_ = ws.WriteFrame(&b, f)
	e.send(b.String())
}
