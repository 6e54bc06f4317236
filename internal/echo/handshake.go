package echo

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gobwas/ws"
)

var headEnd = []byte("\r\n\r\n")

// shakeHands parses a request's head and returns its size and the answer. It carries an incomplete head. The phase is the result.
func (c *conn) shakeHands(p []byte) (size int, answer []byte) {
	i := bytes.Index(p, headEnd)
	if i < 0 && len(p) <= maxHeadBytes {
		c.carry = bytes.Clone(p)
		return 0, nil
	}
	size = i + len(headEnd)
	if i < 0 || size > maxHeadBytes {
		return len(p), c.refuse(http.StatusRequestHeaderFieldsTooLarge, "the head is over 16 KiB", "")
	}
	r, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(p[:size]), size))
	if err != nil {
		return size, c.refuse(http.StatusBadRequest, "malformed request", "")
	}
	if !hasToken(r, "Upgrade", "websocket") {
		return size, c.refuse(http.StatusOK, "echo backend: open a WebSocket here", "")
	}
	return size, c.upgrade(r)
}

// upgrade answers a request for WebSocket. RFC 6455 section 4.2.1 lists what the request must have.
func (c *conn) upgrade(r *http.Request) (answer []byte) {
	keys := r.Header["Sec-Websocket-Key"]
	versions := r.Header["Sec-Websocket-Version"]
	switch {
	case r.Method != http.MethodGet:
		return c.refuse(http.StatusMethodNotAllowed, "a WebSocket opens with GET", "Allow: GET\r\n")
	case !r.ProtoAtLeast(1, 1) || r.Host == "" || !hasToken(r, "Connection", "upgrade") || r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return c.refuse(http.StatusBadRequest, "malformed upgrade", "")
	case len(versions) != 1 || versions[0] != "13":
		return c.refuse(http.StatusUpgradeRequired, "version 13 is spoken here", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
	case len(keys) != 1 || !isKey(keys[0]):
		return c.refuse(http.StatusBadRequest, "bad Sec-WebSocket-Key", "")
	}
	if r.URL.Path == "/push" {
		p, err := c.server.newPush(r)
		if err != nil {
			return c.refuse(http.StatusBadRequest, err.Error(), "")
		}
		c.push = p
	}
	c.phase = phaseOpen
	answer = append(answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	sum := sha1.Sum([]byte(keys[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // section 4.2.2
	answer = base64.StdEncoding.AppendEncode(answer, sum[:])
	// Section 4.2.2 allows an answer without one, but a client that offers some often requires one.
	if first, _, _ := strings.Cut(r.Header.Get("Sec-WebSocket-Protocol"), ","); strings.TrimSpace(first) != "" {
		answer = append(append(answer, "\r\nSec-WebSocket-Protocol: "...), strings.TrimSpace(first)...)
	}
	answer = append(answer, headEnd...)
	if text := c.server.greeting; text != "" {
		answer = append(appendHeader(answer, true, ws.OpText, int64(len(text))), text...)
	}
	return answer
}

// refuse returns an answer that ends the connection; the 200 of a health check is one.
func (c *conn) refuse(status int, text, fields string) (answer []byte) {
	c.phase = phaseEnded
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n%sContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		status, http.StatusText(status), fields, len(text)+1, text)
}

// newPush parses a request for /push.
func (s *server) newPush(r *http.Request) (*push, error) {
	query := r.URL.Query()
	size, err := parseCount(query.Get("size"), maxPushSize)
	if err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	count, err := parseCount(query.Get("count"), 1<<62)
	if err != nil {
		return nil, fmt.Errorf("count: %w", err)
	}
	return newPush(s.pushBlock(size), size, count), nil
}

// parseCount parses a number from 0 to most; "" is 0.
func parseCount(s string, most int64) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("want a number of 0 to %d", most)
	}
	return n, nil
}

// hasToken reports whether a field that is a list has a token, in any case.
func hasToken(r *http.Request, name, token string) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header[name], ","), ",") {
		if strings.EqualFold(strings.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}

// isKey reports whether s is 16 bytes in base64, as section 4.1 requires.
func isKey(s string) bool {
	var key [18]byte // of the 24 characters, before the padding is known
	n, err := base64.StdEncoding.Strict().Decode(key[:], []byte(s[:min(len(s), 25)]))
	return err == nil && n == 16 && len(s) == 24
}
