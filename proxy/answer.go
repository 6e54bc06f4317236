package proxy

import (
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
