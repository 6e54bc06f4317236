package probe

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

const (
	// maxFrames bounds the frames that a probe reads before its pong.
	maxFrames = 64
	// closeTimeout is how long a probe waits for the backend's close.
	closeTimeout = 250 * time.Millisecond
)

// checkWebSocket does a handshake, sends a ping, wants its pong, and closes.
func (c *Config) checkWebSocket(conn net.Conn, r *bufio.Reader, host string) error {
	key := base64.StdEncoding.EncodeToString(randomBytes(16))
	answer, err := c.request(conn, r, host, "Connection: Upgrade\r\nUpgrade: websocket\r\n"+
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
	return pingSession(conn, sessionOn{r, conn})
}

// A sessionOn is a session on a connection of its own.
type sessionOn struct {
	*bufio.Reader
	io.Writer
}

// pingSession sends a ping, wants its pong, and closes the session.
func pingSession(conn net.Conn, session io.ReadWriter) error {
	payload := randomBytes(8)
	// A frame is masked in place.
	if err := ws.WriteFrame(session, ws.MaskFrame(ws.NewPingFrame(slices.Clone(payload)))); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if err := readPong(session, payload); err != nil {
		return fmt.Errorf("wait for the pong: %w", err)
	}
	closeSession(conn, session)
	return nil
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p) // it does not fail
	return p
}

// readPong reads frames of any kind until the pong with that payload.
func readPong(r io.Reader, payload []byte) error {
	for range maxFrames {
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

// closeSession sends a close and waits for the backend's, so that the backend sees a session that
// ended well. The pong has shown that the backend is healthy, so nothing here is a failure.
func closeSession(conn net.Conn, session io.ReadWriter) {
	body := ws.NewCloseFrameBody(ws.StatusNormalClosure, "")
	if err := ws.WriteFrame(session, ws.MaskFrame(ws.NewCloseFrame(body))); err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(closeTimeout))
		_, _ = io.Copy(io.Discard, session)
	}
}
