package proxy

import (
	"errors"
	"io"
	"net"
	"time"
)

// passAnswer passes an answer other than 101 to the client, head and body. After an error the client may have got a part of it. Each read
// and each write may take write_timeout.
func (c *connection) passAnswer() error {
	patience := c.core.Route.WriteTimeout
	memory, body := c.core.Memory, c.core.Memory.Answer.Body()
	_ = c.client.SetWriteDeadline(time.Now().Add(patience))
	out := net.Buffers(c.core.Out())
	if _, err := out.WriteTo(c.client); err != nil {
		return err
	}
	p := c.core.AfterAnswer()
	for {
		n, err := body.Scan(p)
		_ = c.client.SetWriteDeadline(time.Now().Add(patience))
		if _, err := c.client.Write(p[:n]); err != nil {
			return err
		}
		if err != nil || body.Done() {
			return err
		}
		memory.FromBackend.Reset()
		_ = c.backend.SetReadDeadline(time.Now().Add(patience))
		n, err = c.backend.Read(memory.FromBackend.Free())
		memory.FromBackend.Grow(n)
		p = memory.FromBackend.Bytes()
		if n == 0 && errors.Is(err, io.EOF) {
			return body.End()
		}
		if n == 0 && err != nil {
			return err
		}
	}
}
