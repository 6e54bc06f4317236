//go:build unix

package test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A wire is a TCP connection that a test sends any bytes on, as a client or as a backend.
type wire struct {
	*net.TCPConn
	reader   *bufio.Reader
	isClient bool // its frames are masked
	request  *http.Request
}

func newWire(c net.Conn, isClient bool) *wire {
	return &wire{TCPConn: c.(*net.TCPConn), reader: bufio.NewReader(c), isClient: isClient}
}

// dial connects to a listener of the gateway.
func dial(t *testing.T, address string) *wire {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return newWire(c, true)
}

// A rawBackend is a backend whose every byte is the test's.
type rawBackend struct{ *net.TCPListener }

func listenRaw(t *testing.T) rawBackend {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return rawBackend{ln}
}

func (b rawBackend) port() int { return b.Addr().(*net.TCPAddr).Port }

// accept takes the gateway's next connection and reads the request's head.
func (b rawBackend) accept(t *testing.T) *wire {
	t.Helper()
	_ = b.SetDeadline(time.Now().Add(3 * patience)) // the client may be a program that has yet to start
	c, err := b.Accept()
	if err != nil {
		t.Fatalf("the gateway doesn't come to its backend: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w := newWire(c, false)
	w.mayWait()
	if w.request, err = http.ReadRequest(w.reader); err != nil {
		t.Fatalf("the gateway's request: %v", err)
	}
	return w
}

// sampleKey and its Accept are those of RFC 6455 section 1.3.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// acceptOf is RFC 6455 section 4.2.2 item 5.4.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// head joins lines as HTTP does.
func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// request is a right WebSocket request with more lines.
func request(path string, more ...string) string {
	return head(append([]string{"GET " + path + " HTTP/1.1", "Host: gateway.test", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + sampleKey}, more...)...)
}

// switching is the right answer to a request with sampleKey, with more lines.
func switching(more ...string) string {
	return head(append([]string{"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: " + sampleAccept}, more...)...)
}

// open returns both ends of a relayed session.
func open(t *testing.T, g *gateway, backend rawBackend, path string, more ...string) (client, backendEnd *wire) {
	t.Helper()
	client = dial(t, g.listeners["public"])
	client.send(t, request(path, more...))
	backendEnd = backend.accept(t)
	backendEnd.send(t, switching())
	client.wantOpen(t)
	return client, backendEnd
}

// wantOpen reads the 101.
func (w *wire) wantOpen(t *testing.T) *http.Response {
	t.Helper()
	response := w.answer(t)
	if response.StatusCode != 101 || response.Header.Get("Sec-WebSocket-Accept") != sampleAccept {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("status %d, Accept %q, %q; want 101, %q", response.StatusCode, response.Header.Get("Sec-WebSocket-Accept"), body, sampleAccept)
	}
	return response
}

// answer reads the head of the gateway's answer.
func (w *wire) answer(t *testing.T) *http.Response {
	t.Helper()
	w.mayWait()
	response, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		t.Fatalf("the gateway's answer: %v", err)
	}
	return response
}

// mayWait bounds what is read and written next.
func (w *wire) mayWait() { _ = w.SetDeadline(time.Now().Add(patience)) }

// send sends bytes. A backend's sampleAccept becomes the one that answers the key of its request, which a bridge or the gateway may have made.
func (w *wire) send(t *testing.T, bytes string) {
	t.Helper()
	w.mayWait()
	if w.request != nil {
		bytes = strings.ReplaceAll(bytes, sampleAccept, acceptOf(w.request.Header.Get("Sec-WebSocket-Key")))
	}
	if _, err := io.WriteString(w.TCPConn, bytes); err != nil {
		t.Fatalf("send %.60q: %v", bytes, err)
	}
}

// frame draws a whole frame as this end has to send it.
func (w *wire) frame(opcode ws.OpCode, payload string) string {
	f := ws.NewFrame(opcode, true, []byte(payload))
	if w.isClient {
		f = ws.MaskFrameWith(f, [4]byte{0x37, 0xfa, 0x21, 0x3d})
	}
	return string(ws.MustCompileFrame(f))
}

// closeFrame draws a close.
func (w *wire) closeFrame(code ws.StatusCode, reason string) string {
	return w.frame(ws.OpClose, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
}

// mostPayload is the longest frame that a test sends, in bytes.
const mostPayload = 1 << 20

// nextFrame reads a frame and returns its opcode and payload.
func (w *wire) nextFrame(t *testing.T) (ws.OpCode, string) {
	t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(patience))
	header, err := ws.ReadHeader(w.reader)
	if err != nil || header.Length > mostPayload {
		t.Fatalf("no frame: %+v, %v", header, err)
	}
	payload := make([]byte, header.Length)
	if _, err := io.ReadFull(w.reader, payload); err != nil {
		t.Fatalf("frame with opcode %x and %d bytes: %v", header.OpCode, header.Length, err)
	}
	if header.Masked == w.isClient {
		t.Errorf("frame with opcode %x: masked is %v", header.OpCode, header.Masked)
	}
	if header.Masked {
		ws.Cipher(payload, header.Mask, 0)
	}
	return header.OpCode, string(payload)
}

// wantFrame waits for a frame with that content.
func (w *wire) wantFrame(t *testing.T, opcode ws.OpCode, payload string) {
	t.Helper()
	if gotOpcode, got := w.nextFrame(t); gotOpcode != opcode || got != payload {
		t.Fatalf("frame with opcode %x %.130q, want %x %.130q", gotOpcode, got, opcode, payload)
	}
}

// wantClose waits for a close with that code and any reason.
func (w *wire) wantClose(t *testing.T, code ws.StatusCode) {
	t.Helper()
	opcode, payload := w.nextFrame(t)
	wantCloseFrame(t, opcode, payload, code)
}

func wantCloseFrame(t *testing.T, opcode ws.OpCode, payload string, code ws.StatusCode) {
	t.Helper()
	got, reason := ws.ParseCloseFrameData([]byte(payload))
	if opcode != ws.OpClose || got != code {
		t.Fatalf("frame with opcode %x, code %d %.130q, want a close with %d", opcode, got, reason, code)
	}
}

// wantEnd waits for the end of the gateway's stream, with nothing before it.
func (w *wire) wantEnd(t *testing.T) {
	t.Helper()
	w.mayWait()
	if rest, err := io.ReadAll(w.reader); err != nil || len(rest) > 0 {
		t.Fatalf("got %.60q, %v; want the end of the stream", rest, err)
	}
}

// wantGone waits until the gateway has given the connection up, by an end of the stream or a reset.
func (w *wire) wantGone(t *testing.T) {
	t.Helper()
	w.rest(t)
}

// wantNoMore is wantGone where nothing may come before it.
func (w *wire) wantNoMore(t *testing.T) {
	t.Helper()
	if rest := w.rest(t); rest != "" {
		t.Fatalf("got %.60q, want the end of the connection", rest)
	}
}

// rest reads what comes until the connection ends, in whatever way.
func (w *wire) rest(t *testing.T) string {
	t.Helper()
	_ = w.CloseWrite() // a backend's connection ends with the backend's own FIN
	w.mayWait()
	rest, err := io.ReadAll(w.reader)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("the connection hasn't ended: %v", err)
	}
	return string(rest)
}
