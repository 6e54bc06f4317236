package proxy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// passAnswer passes an answer other than 101 to the client, head and body. The error is errAnswered, or errTorn where the client has
// seen a part only. Each stall may last write_timeout.
func (a *attempt) passAnswer() error {
	a.watch.stop()
	a.status = a.memory.Answer.Status()
	if err := a.passWhole(); err != nil {
		return fmt.Errorf("%w: %w", errTorn, err)
	}
	return errAnswered
}

func (a *attempt) passWhole() error {
	body := a.memory.Answer.Body()
	a.isAnswered = true
	_ = a.client.SetWriteDeadline(time.Now().Add(a.route.WriteTimeout))
	a.memory.Out = a.memory.Answer.AppendForward(a.memory.Out[:0], nil)
	out := net.Buffers(a.memory.Out)
	if _, err := out.WriteTo(a.client); err != nil {
		return err
	}
	buf := &a.memory.FromBackend
	p := buf.Bytes()[a.size:]
	for {
		n, err := body.Scan(p)
		_ = a.client.SetWriteDeadline(time.Now().Add(a.route.WriteTimeout))
		if _, err := a.client.Write(p[:n]); err != nil {
			return err
		}
		if err != nil || body.Done() {
			return err
		}
		buf.Reset()
		_ = a.conn.SetReadDeadline(time.Now().Add(a.route.WriteTimeout))
		n, err = a.conn.Read(buf.Free())
		buf.Grow(n)
		p = buf.Bytes()
		if n == 0 && errors.Is(err, io.EOF) {
			return body.End()
		}
		if n == 0 && err != nil {
			return err
		}
	}
}

// How a connection ends that no driver has: a client may still be sending, and a close at once would be a reset.
const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// lingerClose ends a connection without tearing what was just sent from the peer's hands: a close while input waits is a reset.
func lingerClose(conn net.Conn) {
	socket := socketOf(conn)
	if c, ok := conn.(*tls.Conn); ok {
		_ = c.CloseWrite() // close_notify; what still comes is thrown away unparsed
	}
	if c, ok := socket.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		_ = socket.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, socket, lingerBytes)
	}
	_ = socket.Close()
}

// cut ends a connection by a reset, without close_notify.
func cut(conn net.Conn) {
	socket := socketOf(conn)
	if c, ok := socket.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = socket.Close()
}
