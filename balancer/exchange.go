package balancer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

const (
	// maxProbeBytes bounds what a probe reads of a backend.
	maxProbeBytes = 64 << 10
	// maxProbeFrames bounds the frames that a probe reads before its pong.
	maxProbeFrames = 64
	// maxInterim bounds the 1xx answers before the one that counts.
	maxInterim = 8
	// probeLinger is how long a probe waits for the backend's close.
	probeLinger = 250 * time.Millisecond
)

// probeReaders keeps the buffers of 1,000 members' probes from being garbage each five seconds.
var probeReaders = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// dialPlain connects to b.
func dialPlain(ctx context.Context, b *Backend) (net.Conn, error) {
	// A probe is over before the first keep-alive of TCP.
	d := net.Dialer{KeepAlive: -1}
	conn, err := d.DialContext(ctx, b.Network(), b.Address())
	if err != nil {
		return nil, err
	}
	if name, isTLS := b.TLS(); isTLS {
		return tls.Client(conn, &tls.Config{ServerName: name}), nil
	}
	return conn, nil
}

// probe does one probe of b, within the timeout, by the owner's Dial.
func (c *HealthConfig) probe(ctx context.Context, b *Backend, owner Owner) error {
	deadline := time.Now().Add(c.Timeout.Std())
	dialCtx, cancel := context.WithDeadline(ctx, deadline)
	conn, err := owner.Dial(dialCtx, b)
	cancel()
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer conn.Close()
	if c.Kind == ProbeTCP {
		return nil
	}
	_ = conn.SetDeadline(deadline)
	// An end of ctx must not wait for a backend that is silent.
	defer context.AfterFunc(ctx, func() {
		owner.Panics.Guard(room, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	})()
	r := probeReaders.Get().(*bufio.Reader)
	r.Reset(io.LimitReader(conn, maxProbeBytes))
	defer func() {
		r.Reset(nil)
		probeReaders.Put(r)
	}()
	exchange := c.exchangeHTTP
	if c.Kind == ProbeWebSocket {
		exchange = c.exchangeWebSocket
	}
	if err := exchange(conn, r, c.hostOf(b)); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

// hostOf returns the Host of a probe's request.
func (c *HealthConfig) hostOf(b *Backend) string {
	if c.Host != "" {
		return c.Host
	}
	if b.Network() == "unix" {
		return "localhost"
	}
	if name, isTLS := b.TLS(); isTLS {
		return net.JoinHostPort(name, b.address.port())
	}
	return b.Address()
}

// exchangeHTTP asks for the path and wants one of the statuses.
func (c *HealthConfig) exchangeHTTP(conn net.Conn, r *bufio.Reader, host string) error {
	answer, err := c.ask(conn, r, host, "Connection: close\r\n")
	if err != nil {
		return err
	}
	isHealthy := slices.Contains(c.Status, answer.StatusCode)
	if len(c.Status) == 0 {
		isHealthy = answer.StatusCode >= 200 && answer.StatusCode <= 299
	}
	if !isHealthy {
		return fmt.Errorf("answer %d", answer.StatusCode)
	}
	return nil
}

// exchangeWebSocket does a handshake, sends a ping, wants its pong, and closes.
func (c *HealthConfig) exchangeWebSocket(conn net.Conn, r *bufio.Reader, host string) error {
	key := base64.StdEncoding.EncodeToString(randomBytes(16))
	answer, err := c.ask(conn, r, host, "Connection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+key+"\r\n")
	if err != nil {
		return err
	}
	// RFC 6455 section 4.1: what a client checks of the answer.
	accept := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	switch {
	case answer.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("answer %d", answer.StatusCode)
	case !strings.EqualFold(answer.Header.Get("Upgrade"), "websocket"),
		answer.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(accept[:]):
		return errors.New("answer 101 of another protocol or to another key")
	}
	payload := randomBytes(8)
	// A frame is masked in place.
	if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewPingFrame(slices.Clone(payload)))); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if err := readPong(r, payload); err != nil {
		return fmt.Errorf("wait for the pong: %w", err)
	}
	sayGoodbye(conn, r)
	return nil
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p) // it does not fail
	return p
}

// ask sends a request with the lines of fields, and returns the answer behind interim ones (RFC
// 9110 section 15.2).
func (c *HealthConfig) ask(conn net.Conn, r *bufio.Reader, host, fields string) (*http.Response, error) {
	_, err := io.WriteString(conn, "GET "+c.Path+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: sluice-probe\r\n"+fields+"\r\n")
	if err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
	}
	for range maxInterim {
		answer, err := http.ReadResponse(r, nil)
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		if answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			return answer, nil
		}
	}
	return nil, errors.New("nothing but interim answers")
}

// readPong reads frames, whatever they are, until the pong of payload.
func readPong(r io.Reader, payload []byte) error {
	for range maxProbeFrames {
		header, err := ws.ReadHeader(r)
		if err != nil {
			return err
		}
		switch {
		case header.OpCode == ws.OpClose:
			return errors.New("closed by the backend")
		case header.OpCode != ws.OpPong || header.Length != int64(len(payload)):
			if _, err := io.CopyN(io.Discard, r, header.Length); err != nil {
				return err
			}
			continue
		}
		text := make([]byte, len(payload))
		if _, err := io.ReadFull(r, text); err != nil {
			return err
		}
		if bytes.Equal(text, payload) {
			return nil
		}
	}
	return errors.New("too many frames before it")
}

// sayGoodbye closes and lets the backend do so, too: it is to see a session that ended well. The
// pong has shown its health, so nothing here is a failure.
func sayGoodbye(conn net.Conn, r *bufio.Reader) {
	body := ws.NewCloseFrameBody(ws.StatusNormalClosure, "")
	if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(body))); err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(probeLinger))
		_, _ = r.WriteTo(io.Discard)
	}
}
