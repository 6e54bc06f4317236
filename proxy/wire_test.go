package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A wire is a connection on which a test sends and reads bytes, as a client or as a backend.
type wire struct {
	net.Conn
	reader   *bufio.Reader
	isClient bool   // its frames are masked
	head     string // the head of the last request, on a backend's wire
}

// dial connects to the listener "public".
func (g *gateway) dial(t *testing.T) *wire {
	t.Helper()
	return dialAddr(t, g.Addr("public"))
}

func dialAddr(t *testing.T, a net.Addr) *wire {
	t.Helper()
	c, err := net.DialTimeout(a.Network(), a.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &wire{Conn: c, reader: bufio.NewReader(c), isClient: true}
}

// A rawBackend is a backend for which the test sends every byte.
type rawBackend struct{ net.Listener }

func listenRaw(t *testing.T) rawBackend {
	t.Helper()
	return listenAt(t, "tcp", "127.0.0.1:0")
}

func listenAt(t *testing.T, network, address string) rawBackend {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return rawBackend{ln}
}

// closedAddress returns an address on which no socket listens, another one at each call. The kernel never chooses port 1 on its own.
func closedAddress(*testing.T) string {
	n := closedAddresses.Add(1)
	return fmt.Sprintf("127.1.%d.%d:1", n>>8&0xff, n&0xff)
}

var closedAddresses atomic.Uint32

// connected accepts the gateway's next connection.
func (b rawBackend) connected(t *testing.T) *wire {
	t.Helper()
	if l, ok := b.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(time.Now().Add(patience))
	}
	c, err := b.Accept()
	if err != nil {
		t.Fatalf("no connection from the gateway: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &wire{Conn: c, reader: bufio.NewReader(c)}
}

// accept accepts the gateway's next connection and reads the head of its request.
func (b rawBackend) accept(t *testing.T) *wire {
	t.Helper()
	w := b.connected(t)
	w.readHead(t)
	return w
}

// wantNoConnection checks that the gateway has not connected.
func (b rawBackend) wantNoConnection(t *testing.T) {
	t.Helper()
	_ = b.Listener.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Millisecond))
	if c, err := b.Accept(); err == nil {
		_ = c.Close()
		t.Fatal("the gateway has connected to a backend that gets no request")
	}
}

// readHead reads a request's head.
func (w *wire) readHead(t *testing.T) {
	t.Helper()
	w.mayWait()
	var text strings.Builder
	for !strings.HasSuffix(text.String(), "\r\n\r\n") {
		line, err := w.reader.ReadString('\n')
		if err != nil {
			t.Fatalf("the gateway's request %q: %v", text.String(), err)
		}
		text.WriteString(line)
	}
	w.head = text.String()
}

// field returns the values of a field of the request's head, joined by "|"; HTTP/2 has names in lower case.
func (w *wire) field(name string) string {
	var values []string
	for line := range strings.SplitSeq(w.head, "\r\n") {
		if written, value, _ := strings.Cut(line, ":"); strings.EqualFold(written, name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return strings.Join(values, "|")
}

// sampleKey and its Accept are those of RFC 6455 section 1.3.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // section 4.2.2
	return base64.StdEncoding.EncodeToString(sum[:])
}

// head joins lines as HTTP does.
func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// asking returns a valid WebSocket request with additional lines.
func asking(path string, more ...string) string {
	return head(append([]string{"GET " + path + " HTTP/1.1", "Host: gateway.test", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + sampleKey}, more...)...)
}

// switching returns the valid answer to a request with sampleKey, with additional lines.
func switching(more ...string) string {
	return head(append([]string{"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: " + sampleAccept}, more...)...)
}

// getting returns a plain request with additional lines.
func getting(path string, more ...string) string {
	return head(append([]string{"GET " + path + " HTTP/1.1", "Host: gateway.test"}, more...)...)
}

// answering returns a plain answer with additional lines.
func answering(body string, more ...string) string {
	return head(append([]string{"HTTP/1.1 200 OK", "Content-Length: " + strconv.Itoa(len(body))}, more...)...) + body
}

// open returns both ends of a relayed session.
func (g *gateway) open(t *testing.T, backend rawBackend, more ...string) (client, backendEnd *wire) {
	t.Helper()
	client = g.dial(t)
	client.send(t, asking("/", more...))
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
		t.Fatalf("status %d, Accept %q, %q; want 101", response.StatusCode, response.Header.Get("Sec-WebSocket-Accept"), body)
	}
	return response
}

// answer reads the head of the gateway's answer to a GET.
func (w *wire) answer(t *testing.T) *http.Response {
	t.Helper()
	w.mayWait()
	response, err := http.ReadResponse(w.reader, nil)
	if err != nil {
		t.Fatalf("the gateway's answer: %v", err)
	}
	return response
}

// wantBody reads a whole answer.
func (w *wire) wantBody(t *testing.T, status int, body string) *http.Response {
	t.Helper()
	response := w.answer(t)
	if got, err := io.ReadAll(response.Body); response.StatusCode != status || string(got) != body || err != nil {
		t.Fatalf("status %d, %.80q, %v; want %d, %.80q", response.StatusCode, got, err, status, body)
	}
	return response
}

// wantRefusal reads a refusal by the gateway, up to the end of the connection.
func (w *wire) wantRefusal(t *testing.T, status int, word string) *http.Response {
	t.Helper()
	response := w.answer(t)
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status || !response.Close || !bytes.Contains(body, []byte(word)) {
		t.Fatalf("status %d, close %v, %q, %v; want %d, a close, a line with %q", response.StatusCode, response.Close, body, err, status, word)
	}
	if bytes.Count(body, []byte("\n")) != 1 || !bytes.HasSuffix(body, []byte("\n")) {
		t.Errorf("body %q, want one line", body)
	}
	w.wantEnd(t)
	return response
}

// wantEnd waits for the end of the stream, with nothing before it.
func (w *wire) wantEnd(t *testing.T) {
	t.Helper()
	w.mayWait()
	if rest, err := io.ReadAll(w.reader); err != nil || len(rest) > 0 {
		t.Fatalf("%.80q, %v; want the end of the stream", rest, err)
	}
}

// wantBroken reads an answer whose rest is missing, and returns what has come of it. The end of the stream shows that, and no reset.
func (w *wire) wantBroken(t *testing.T) (body string) {
	t.Helper()
	w.mayWait()
	text, err := io.ReadAll(w.reader)
	if err != nil {
		t.Fatalf("%.80q, %v; want an answer that breaks off, and the end of the stream", text, err)
	}
	from := bufio.NewReader(bytes.NewReader(text))
	for {
		response, err := http.ReadResponse(from, nil)
		if err != nil {
			return ""
		}
		if response.StatusCode < 200 {
			continue
		}
		got, err := io.ReadAll(response.Body)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%.80q, %v; want an answer that looks incomplete", text, err)
		}
		return string(got)
	}
}

// wantGone waits until the connection has ended in any way.
func (w *wire) wantGone(t *testing.T) {
	t.Helper()
	w.mayWait()
	if _, err := io.Copy(io.Discard, w.reader); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection hasn't ended")
	}
}

// mayWait sets a deadline for the next reads and writes.
func (w *wire) mayWait() { _ = w.SetDeadline(time.Now().Add(patience)) }

// send sends text. A backend's sampleAccept becomes the one that answers the key of the request, which another one than the test may have made.
func (w *wire) send(t *testing.T, text string) {
	t.Helper()
	w.mayWait()
	if key := w.field("Sec-WebSocket-Key"); key != "" {
		text = strings.ReplaceAll(text, sampleAccept, acceptOf(key))
	}
	if _, err := io.WriteString(w.Conn, text); err != nil {
		t.Fatalf("send %.60q: %v", text, err)
	}
}

// text returns a whole text frame, which is masked if w is a client's.
func (w *wire) text(payload string) string { return w.frame(ws.OpText, payload) }

// closing returns a close frame.
func (w *wire) closing(code ws.StatusCode) string {
	return w.frame(ws.OpClose, string(binary.BigEndian.AppendUint16(nil, uint16(code))))
}

func (w *wire) frame(opcode ws.OpCode, payload string) string {
	f := ws.NewFrame(opcode, true, []byte(payload))
	if w.isClient {
		f = ws.MaskFrameWith(f, [4]byte{0x37, 0xfa, 0x21, 0x3d})
	}
	return string(ws.MustCompileFrame(f))
}

// wantText waits for a text frame.
func (w *wire) wantText(t *testing.T, payload string) {
	t.Helper()
	if f := w.next(t); f.Header.OpCode != ws.OpText || string(f.Payload) != payload {
		t.Fatalf("frame with opcode %x %.80q, want text %.80q", f.Header.OpCode, f.Payload, payload)
	}
}

// wantClose waits for a close with that code.
func (w *wire) wantClose(t *testing.T, code ws.StatusCode) {
	t.Helper()
	f := w.next(t)
	if got, _ := ws.ParseCloseFrameData(f.Payload); f.Header.OpCode != ws.OpClose || got != code {
		t.Fatalf("frame with opcode %x %.80q, want a close with %d", f.Header.OpCode, f.Payload, code)
	}
}

func (w *wire) next(t *testing.T) ws.Frame {
	t.Helper()
	f, err := w.readFrame()
	if err != nil {
		t.Fatalf("no frame: %v", err)
	}
	return f
}

// readFrame reads a frame, unmasked.
func (w *wire) readFrame() (ws.Frame, error) {
	w.mayWait()
	return readFrame(w.reader)
}

// readFrame reads a frame, unmasked.
func readFrame(r io.Reader) (ws.Frame, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return ws.Frame{}, err
	}
	if h.Length > 1<<20 {
		return ws.Frame{}, fmt.Errorf("frame of %d bytes", h.Length)
	}
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	_, err = io.ReadFull(r, f.Payload)
	if h.Masked {
		ws.Cipher(f.Payload, h.Mask, 0)
	}
	return f, err
}

// wantLive sends a message through a session in each direction.
func wantLive(t *testing.T, client, backend *wire) {
	t.Helper()
	client.send(t, client.text("ask"))
	backend.wantText(t, "ask")
	backend.send(t, backend.text("tell"))
	client.wantText(t, "tell")
}

// dialTry tries to connect to the listener "public".
func dialTry(g *gateway) (net.Conn, error) {
	return net.DialTimeout("tcp", g.address(), patience)
}

// skip reads text, which has to come next.
func (w *wire) skip(t *testing.T, text string) {
	t.Helper()
	w.mayWait()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(w.reader, got); err != nil || string(got) != text {
		t.Fatalf("%q, %v; want %q", got, err, text)
	}
}

// withHead returns a reader of the last request, with its head once more.
func (w *wire) withHead() *bufio.Reader {
	return bufio.NewReader(io.MultiReader(strings.NewReader(w.head), w.reader))
}
