package h2test

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// BridgeOptions say how a bridge uses HTTP/2. The zero value is fine.
type BridgeOptions struct {
	Options
	// Streams is how many streams a connection carries at most (Front); 0 means 100.
	Streams int
	// Listener is where the bridge listens; nil means a port of its own of 127.0.0.1.
	Listener net.Listener
	// Scheme is that of the requests (Front); "" means http.
	Scheme string
}

// A Bridge speaks HTTP/1.1 on one side and HTTP/2 on the other. The ends of a connection become those of a stream and the
// other way round: FIN is END_STREAM, and a reset of TCP is RST_STREAM.
type Bridge struct {
	listener net.Listener
	server   *Server // of Back
	target   string
	secure   *tls.Config
	options  BridgeOptions

	mu       sync.Mutex
	conns    []*Conn
	clients  map[net.Conn]bool
	isClosed bool
	running  sync.WaitGroup
}

// Front makes a Bridge that takes clients of HTTP/1.1 and carries each over a stream to target, with TLS unless secure is nil.
func Front(target string, secure *tls.Config, o BridgeOptions) (*Bridge, error) {
	b, err := newBridge(target, secure, o)
	if err != nil {
		return nil, err
	}
	b.running.Go(b.accept)
	return b, nil
}

// Back makes a Bridge that takes streams, with TLS unless secure is nil, and carries each over a connection of HTTP/1.1 to target.
func Back(target string, secure *tls.Config, o BridgeOptions) (*Bridge, error) {
	b, err := newBridge(target, secure, o)
	if err != nil {
		return nil, err
	}
	b.server = Serve(b.listener, secure, o.Options, b.carryStream)
	return b, nil
}

func newBridge(target string, secure *tls.Config, o BridgeOptions) (b *Bridge, err error) {
	if o.Streams == 0 {
		o.Streams = 100
	}
	if o.Scheme == "" {
		o.Scheme = "http"
	}
	if o.Listener == nil {
		if o.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	return &Bridge{listener: o.Listener, target: target, secure: secure, options: o, clients: map[net.Conn]bool{}}, nil
}

// Addr returns the address that the bridge listens at.
func (b *Bridge) Addr() string { return b.listener.Addr().String() }

// Conns returns the live connections of HTTP/2.
func (b *Bridge) Conns() []*Conn {
	if b.server != nil {
		return b.server.Conns()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.conns)
}

// Accepted returns how many connections of HTTP/2 a bridge of Back has had.
func (b *Bridge) Accepted() int { return b.server.Accepted() }

// Close ends everything that the bridge carries.
func (b *Bridge) Close() {
	_ = b.listener.Close()
	b.mu.Lock()
	b.isClosed = true
	for _, c := range b.conns {
		_ = c.Close()
	}
	for client := range b.clients {
		_ = client.Close()
	}
	b.mu.Unlock()
	if b.server != nil {
		b.server.Close()
	}
	b.running.Wait()
}

// keep has Close close conn. It returns false after Close.
func (b *Bridge) keep(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.isClosed {
		b.clients[conn] = true
	}
	return !b.isClosed
}

func (b *Bridge) forget(conn net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.clients, conn)
}

func (b *Bridge) accept() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		if !b.keep(client) {
			_ = client.Close()
			return
		}
		b.running.Go(func() {
			defer b.forget(client)
			defer client.Close()
			in := bufio.NewReader(client)
			for b.carryRequest(client, in) {
			}
		})
	}
}

// open opens a stream on a connection that has room.
func (b *Bridge) open(fields []Field, isEnd bool) (*Stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = slices.DeleteFunc(b.conns, func(c *Conn) bool {
		select {
		case <-c.Done():
			return true
		default:
			return false
		}
	})
	for _, c := range b.conns {
		if _, _, isGoing := c.GoAway(); !isGoing && c.Streams() < b.options.Streams && c.hasRoom() {
			if s, err := c.Open(fields, isEnd); err == nil {
				return s, nil
			}
		}
	}
	if b.isClosed {
		return nil, net.ErrClosed
	}
	c, err := DialClient(b.target, b.secure, b.options.Options)
	if err != nil {
		return nil, err
	}
	b.conns = append(b.conns, c)
	return c.Open(fields, isEnd)
}

func (c *Conn) hasRoom() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && uint32(len(c.streams)) < c.maxStreams
}

// carryRequest carries one request of HTTP/1.1, and reports whether another may follow.
func (b *Bridge) carryRequest(client net.Conn, in *bufio.Reader) bool {
	first, fields, err := readHead(in)
	if err != nil {
		return false
	}
	method, rest, _ := strings.Cut(first, " ")
	path, _, _ := strings.Cut(rest, " ")
	head := Fields(":method", method, ":scheme", b.options.Scheme, ":authority", fieldOf(fields, "host"), ":path", path)
	isWebSocket := strings.EqualFold(fieldOf(fields, "upgrade"), "websocket")
	key := fieldOf(fields, "sec-websocket-key")
	if isWebSocket {
		head[0].Value = "CONNECT"
		head = slices.Insert(head, 1, Field{Name: ":protocol", Value: "websocket"})
	}
	body := bodyOf(in, fields)
	if isWebSocket {
		body = in
	}
	head = append(head, endToEnd(fields, "host", "sec-websocket-key")...)
	s, err := b.open(head, body == nil)
	if err != nil {
		_, _ = fmt.Fprintf(client, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return false
	}
	defer s.Close()
	var sent sync.WaitGroup
	defer sent.Wait()
	if body != nil {
		sent.Go(func() { carry(s, body) })
	}
	response, err := s.responses(func(r *Response) {
		_, _ = io.WriteString(client, headText(fmt.Sprintf("HTTP/1.1 %d %s", r.Status, http.StatusText(r.Status)), r.Fields))
	})
	if err != nil {
		reset(client)
		return false
	}
	if isWebSocket && response.Status == 200 {
		fields := append(Fields("Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Accept", acceptOf(key)), response.Fields...)
		if _, err := io.WriteString(client, headText("HTTP/1.1 101 Switching Protocols", fields)); err == nil {
			carryBack(client, s)
		}
		return false
	}
	goesOn := body == nil && !isWebSocket && response.Status < 400
	if answer(client, s, response, method, goesOn) && goesOn {
		return true
	}
	if tcp, ok := client.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_ = client.SetReadDeadline(time.Now().Add(lingering)) // the client may be sending
	return false
}

// answer passes a response on to a client of HTTP/1.1, with Connection: close unless it goes on. It reports whether all of it was sent.
func answer(client net.Conn, s *Stream, response *Response, method string, goesOn bool) bool {
	first := fmt.Sprintf("HTTP/1.1 %d %s", response.Status, http.StatusText(response.Status))
	hasBody := method != "HEAD" && response.Status != 204 && response.Status != 304
	fields := response.Fields
	isChunked := hasBody && fieldOf(fields, "content-length") == ""
	if isChunked {
		fields = append(fields, Field{Name: "Transfer-Encoding", Value: "chunked"})
	}
	if !goesOn {
		fields = append(fields, Field{Name: "Connection", Value: "close"})
	}
	if _, err := io.WriteString(client, headText(first, fields)); err != nil {
		return false
	}
	var out io.Writer = client
	if isChunked {
		out = httputil.NewChunkedWriter(client)
	}
	if _, err := io.Copy(out, s); err != nil {
		// An answer that breaks off ends without what is missing. RST_STREAM(NO_ERROR) comes after a whole one.
		var gone *ResetError
		if !errors.As(err, &gone) || gone.Code != http2.ErrCodeNo {
			return false
		}
	}
	if isChunked {
		end := "0\r\n"
		for _, field := range s.Trailers() {
			end += field.Name + ": " + field.Value + "\r\n"
		}
		if _, err := io.WriteString(client, end+"\r\n"); err != nil {
			return false
		}
	}
	return true
}

// carryStream carries a stream to the backend.
func (b *Bridge) carryStream(s *Stream) {
	backend, err := net.Dial("tcp", b.target)
	if err != nil {
		_ = s.Reset(http2.ErrCodeRefusedStream)
		return
	}
	defer backend.Close()
	if !b.keep(backend) {
		return
	}
	defer b.forget(backend)

	key := base64.StdEncoding.EncodeToString([]byte(rand.Text()[:16]))
	method := s.Field(":method")
	fields := Fields("Host", s.Field(":authority"))
	hasBody := false
	switch {
	case s.IsWebSocket():
		method = "GET"
		fields = append(fields, Fields("Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key", key)...)
	case s.Field("content-length") == "" && !s.hasEnded():
		fields = append(fields, Fields("Transfer-Encoding", "chunked", "Connection", "close")...)
		hasBody = true
	default:
		fields = append(fields, Fields("Connection", "close")...)
		hasBody = s.Field("content-length") != ""
	}
	for _, field := range s.Fields {
		if field.Name[0] != ':' {
			fields = append(fields, field)
		}
	}
	if _, err := io.WriteString(backend, headText(method+" "+s.Field(":path")+" HTTP/1.1", fields)); err != nil {
		_ = s.Reset(http2.ErrCodeInternal)
		return
	}
	var sent sync.WaitGroup
	defer sent.Wait()
	switch {
	case s.IsWebSocket():
		sent.Go(func() { carryBack(backend, s) })
	case hasBody && s.Field("content-length") == "":
		sent.Go(func() {
			chunks := httputil.NewChunkedWriter(backend)
			if _, err := io.Copy(chunks, s); err == nil {
				_ = chunks.Close()
				_, _ = io.WriteString(backend, "\r\n")
			}
		})
	case hasBody:
		sent.Go(func() { _, _ = io.Copy(backend, s) })
	}
	in := bufio.NewReader(backend)
	for {
		first, fields, err := readHead(in)
		words := strings.Fields(first)
		if err != nil || len(words) < 2 {
			// What the backend did before an answer, or instead of one.
			if errors.Is(err, io.EOF) {
				_ = s.Reset(http2.ErrCodeCancel)
			} else {
				_ = s.Reset(http2.ErrCodeInternal)
			}
			_ = backend.Close()
			return
		}
		status, _ := strconv.Atoi(words[1])
		switch {
		case status == 101 && s.IsWebSocket():
			if fieldOf(fields, "sec-websocket-accept") != acceptOf(key) {
				_ = s.Reset(http2.ErrCodeInternal)
				_ = backend.Close()
				return
			}
			if s.Answer(200, endToEnd(fields, "sec-websocket-accept")...) == nil {
				carry(s, in)
			}
		case status/100 == 1:
			_ = s.Interim(status, endToEnd(fields)...)
			continue
		default:
			body := bodyOf(in, fields)
			if body == nil && method != "HEAD" && status != 204 && status != 304 && fieldOf(fields, "content-length") != "0" {
				body = in
			}
			if s.sendHead(status, endToEnd(fields), body == nil || method == "HEAD") == nil && body != nil && method != "HEAD" {
				carry(s, body)
			}
			// A client that still sends is told to stop, as a backend that closes its connection tells it.
			_ = backend.Close()
		}
		return
	}
}

func (s *Stream) hasEnded() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.isEnded
}

// carry copies to a stream what comes of a connection of HTTP/1.1, and its end.
func carry(s *Stream, from io.Reader) {
	_, err := io.Copy(s, from)
	if err != nil {
		_ = s.Reset(http2.ErrCodeCancel)
		return
	}
	_ = s.CloseWrite()
}

// carryBack copies to a connection of HTTP/1.1 what comes of a stream, and its end.
func carryBack(to net.Conn, s *Stream) {
	if _, err := io.Copy(to, s); err != nil {
		_ = s.Reset(http2.ErrCodeCancel)
		reset(to)
		return
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// reset resets a connection of TCP.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// readHead reads a head: its first line and its fields, their names in lower case.
func readHead(in *bufio.Reader) (first string, fields []Field, err error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "" && first == "":
		case line == "":
			return first, fields, nil
		case first == "":
			first = line
		default:
			name, value, _ := strings.Cut(line, ":")
			fields = append(fields, Field{Name: strings.ToLower(name), Value: strings.Trim(value, " \t")})
		}
	}
}

func headText(first string, fields []Field) string {
	var text strings.Builder
	text.WriteString(first + "\r\n")
	for _, field := range fields {
		text.WriteString(canonical(field.Name) + ": " + field.Value + "\r\n")
	}
	return text.String() + "\r\n"
}

// canonical writes the name of a field as it is usual in HTTP/1.1.
func canonical(name string) string {
	if rest, ok := strings.CutPrefix(name, "sec-websocket-"); ok {
		return "Sec-WebSocket-" + http.CanonicalHeaderKey(rest)
	}
	return http.CanonicalHeaderKey(name)
}

// endToEnd returns the fields that HTTP/2 can carry, without some more.
func endToEnd(fields []Field, without ...string) []Field {
	without = append(without, "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings")
	for _, field := range fields {
		if field.Name == "connection" {
			for name := range strings.SplitSeq(field.Value, ",") {
				without = append(without, strings.ToLower(strings.TrimSpace(name)))
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(fields), func(field Field) bool {
		return slices.Contains(without, field.Name) || field.Name == "te" && field.Value != "trailers"
	})
}

// bodyOf returns the body that a head announces, or nil.
func bodyOf(in *bufio.Reader, fields []Field) io.Reader {
	if strings.EqualFold(fieldOf(fields, "transfer-encoding"), "chunked") {
		return httputil.NewChunkedReader(in)
	}
	if n, _ := strconv.ParseInt(fieldOf(fields, "content-length"), 10, 64); n > 0 {
		return io.LimitReader(in, n)
	}
	return nil
}

func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
