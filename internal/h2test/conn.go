package h2test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	defaultWindow = 1<<16 - 1
	// connWindow is the connection's window that we give. It is given back on receipt.
	connWindow = 1 << 24
	// fullQueue is how many bytes wait for the socket before DATA waits too.
	fullQueue = 1 << 17
	// lingering is how long Close waits for the queue.
	lingering = time.Second
)

// Options say what our end of connections tells its peer. The zero value is an ordinary peer.
type Options struct {
	// Settings are sent first, after those of the other fields.
	Settings []http2.Setting
	// Window is the window of a stream that the peer has at first; 0 means 65535. It is given back as the stream is read.
	Window uint32
	// NoConnect: a server doesn't offer WebSocket.
	NoConnect bool
	// MaxStreams is how many streams a server allows; 0: it doesn't say. Those over it are accepted all the same.
	MaxStreams uint32
	// Pad is how long the padding of each of our DATA frames is.
	Pad uint8
}

// A Response is the final head of a response, with the statuses of interim ones.
type Response struct {
	Status  int
	Fields  []Field
	Interim []int
	Body    []byte // where the call that returned it has read it
}

// Field returns the value of the first field of that name.
func (r *Response) Field(name string) string { return fieldOf(r.Fields, name) }

func fieldOf(fields []Field, name string) string {
	for _, field := range fields {
		if field.Name == name {
			return field.Value
		}
	}
	return ""
}

// A Conn is a connection of a client or of a server. Its methods may be called by any goroutine.
type Conn struct {
	conn     net.Conn
	isClient bool
	options  Options
	handle   func(*Stream) // a server's
	handlers sync.WaitGroup
	done     chan struct{} // closed after the end

	mu      sync.Mutex
	changed sync.Cond // settings, acknowledgements, the queue, the end
	framer  *http2.Framer
	out     *bytes.Buffer // what the socket hasn't got yet
	block   bytes.Buffer
	encoder *hpack.Encoder
	streams map[uint32]*Stream
	next    uint32 // a client's next stream
	last    uint32 // a server's newest stream
	opened  int

	window     int64 // that the peer gives the connection
	isReady    bool
	canConnect bool
	initial    uint32
	maxFrame   uint32
	maxStreams uint32
	unsettled  int // settings of ours that aren't acknowledged
	pings      int // of ours that aren't answered
	isLeaving  bool
	goAway     *http2.GoAwayFrame
	err        error
}

// DialClient connects as a client and waits for the peer's settings.
func DialClient(address string, secure *tls.Config, o Options) (*Conn, error) {
	conn, err := Dial(address, secure)
	if err != nil {
		return nil, err
	}
	return NewClient(conn, o)
}

// NewClient begins a connection as a client and waits for the peer's settings. After an error the connection is closed.
func NewClient(conn net.Conn, o Options) (*Conn, error) {
	c := begin(conn, true, o, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.wait(func() bool { return c.isReady }); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("the peer's settings: %w", err)
	}
	return c, nil
}

// ServeConn serves a connection.
func ServeConn(conn net.Conn, o Options, handle func(*Stream)) *Conn {
	return begin(conn, false, o, handle)
}

func begin(conn net.Conn, isClient bool, o Options, handle func(*Stream)) *Conn {
	if o.Window == 0 {
		o.Window = defaultWindow
	}
	c := &Conn{
		conn: conn, isClient: isClient, options: o, handle: handle, done: make(chan struct{}), out: new(bytes.Buffer),
		streams: map[uint32]*Stream{}, next: 1, window: defaultWindow, initial: defaultWindow, maxFrame: 1 << 14, maxStreams: 1<<32 - 1,
	}
	c.changed.L = &c.mu
	c.framer = http2.NewFramer(queue{c}, conn)
	c.framer.AllowIllegalWrites = true
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.block)

	settings := []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: o.Window}}
	if isClient {
		c.out.WriteString(http2.ClientPreface)
		settings = append(settings, http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	}
	if !isClient && !o.NoConnect {
		settings = append(settings, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	}
	if !isClient && o.MaxStreams != 0 {
		settings = append(settings, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: o.MaxStreams})
	}
	c.mu.Lock()
	_ = c.framer.WriteSettings(append(settings, o.Settings...)...)
	c.unsettled++
	_ = c.framer.WriteWindowUpdate(0, connWindow-defaultWindow)
	c.mu.Unlock()

	var sides sync.WaitGroup
	sides.Go(c.write)
	sides.Go(c.read)
	go func() {
		sides.Wait()
		close(c.done)
	}()
	return c
}

// A queue takes what the framer writes. Its Conn is locked.
type queue struct{ c *Conn }

func (q queue) Write(p []byte) (int, error) {
	if q.c.err != nil {
		return 0, q.c.err
	}
	q.c.changed.Broadcast()
	return q.c.out.Write(p)
}

// write moves the queue to the socket, so that no one who adds to it waits for the peer.
func (c *Conn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	spare := new(bytes.Buffer)
	for {
		for c.out.Len() == 0 && c.err == nil {
			c.changed.Wait()
		}
		if c.out.Len() == 0 {
			return
		}
		full := c.out
		c.out = spare
		c.mu.Unlock()
		_, err := c.conn.Write(full.Bytes())
		c.mu.Lock()
		full.Reset()
		spare = full
		if err != nil {
			c.fail(err)
			return
		}
		c.wake()
	}
}

// wake has all that wait look again.
func (c *Conn) wake() {
	c.changed.Broadcast()
	for _, s := range c.streams {
		s.changed.Broadcast()
	}
}

// fail ends the connection.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	_ = c.conn.Close()
	c.wake()
}

// wait waits until is, or the end, or for too long.
func (c *Conn) wait(is func() bool) error {
	late := false
	timer := time.AfterFunc(patience, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.changed.Broadcast()
	})
	defer timer.Stop()
	for !is() {
		switch {
		case c.err != nil:
			return c.err
		case late:
			return os.ErrDeadlineExceeded
		}
		c.changed.Wait()
	}
	return nil
}

// read reads frames until the end.
func (c *Conn) read() {
	err := c.readPreface()
	for err == nil {
		var frame http2.Frame
		frame, err = c.framer.ReadFrame()
		c.mu.Lock()
		var onStream http2.StreamError
		switch {
		case err == nil:
			err = c.receive(frame)
		case errors.As(err, &onStream):
			err = c.framer.WriteRSTStream(onStream.StreamID, onStream.Code)
			if s := c.streams[onStream.StreamID]; s != nil {
				s.end(fmt.Errorf("malformed: %w", onStream))
			}
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	c.fail(err)
	c.mu.Unlock()
	c.handlers.Wait()
}

func (c *Conn) readPreface() error {
	if c.isClient {
		return nil
	}
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.conn, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return fmt.Errorf("preface %q", preface)
	}
	return nil
}

func (c *Conn) receive(frame http2.Frame) error {
	s := c.streams[frame.Header().StreamID]
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		return c.receiveSettings(f)
	case *http2.PingFrame:
		if f.IsAck() {
			c.pings--
			c.changed.Broadcast()
			return nil
		}
		return c.framer.WritePing(true, f.Data)
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			c.window += int64(f.Increment)
			c.wake()
		} else if s != nil {
			s.window += int64(f.Increment)
			s.changed.Broadcast()
		}
	case *http2.GoAwayFrame:
		c.receiveGoAway(f)
	case *http2.RSTStreamFrame:
		if s != nil {
			s.end(&ResetError{f.ErrCode})
		}
	case *http2.MetaHeadersFrame:
		return c.receiveHead(s, f)
	case *http2.DataFrame:
		return c.receiveData(s, f)
	}
	return nil
}

func (c *Conn) receiveSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		c.unsettled--
		c.changed.Broadcast()
		return nil
	}
	_ = f.ForeachSetting(func(setting http2.Setting) error {
		switch setting.ID {
		case http2.SettingInitialWindowSize:
			for _, s := range c.streams {
				s.window += int64(setting.Val) - int64(c.initial)
			}
			c.initial = setting.Val
		case http2.SettingMaxFrameSize:
			c.maxFrame = setting.Val
		case http2.SettingMaxConcurrentStreams:
			c.maxStreams = setting.Val
		case http2.SettingEnableConnectProtocol:
			c.canConnect = setting.Val == 1
		case http2.SettingHeaderTableSize:
			c.encoder.SetMaxDynamicTableSizeLimit(setting.Val)
		}
		return nil
	})
	c.isReady = true
	c.wake()
	return c.framer.WriteSettingsAck()
}

func (c *Conn) receiveGoAway(f *http2.GoAwayFrame) {
	kept := *f
	c.goAway = &kept
	for id, s := range c.streams {
		if c.isClient && id > f.LastStreamID {
			s.end(&ResetError{http2.ErrCodeRefusedStream})
		}
	}
	c.wake()
}

func (c *Conn) receiveHead(s *Stream, f *http2.MetaHeadersFrame) error {
	if s == nil {
		if c.isClient {
			return nil // of a stream that was closed
		}
		if c.isLeaving {
			return c.framer.WriteRSTStream(f.StreamID, http2.ErrCodeRefusedStream)
		}
		s = c.newStream(f.StreamID)
		s.Fields = slices.Clone(f.Fields)
		c.last = f.StreamID
		c.opened++
		if f.StreamEnded() {
			s.endReceived()
		}
		c.handlers.Go(func() {
			defer s.Close()
			c.handle(s)
		})
		return nil
	}
	status := 0
	if c.isClient {
		_, _ = fmt.Sscan(fieldOf(f.Fields, ":status"), &status)
	}
	switch {
	case status >= 100 && status < 200:
		s.interim = append(s.interim, &Response{Status: status, Fields: slices.Clone(f.Fields[1:])})
	case status != 0:
		s.response = &Response{Status: status, Fields: slices.Clone(f.Fields[1:])}
		for _, interim := range s.interim {
			s.response.Interim = append(s.response.Interim, interim.Status)
		}
	default:
		s.trailers = slices.Clone(f.Fields)
	}
	if f.StreamEnded() {
		s.endReceived()
	}
	s.changed.Broadcast()
	return nil
}

func (c *Conn) receiveData(s *Stream, f *http2.DataFrame) error {
	if f.Length > 0 {
		if err := c.framer.WriteWindowUpdate(0, f.Length); err != nil {
			return err
		}
	}
	switch {
	case s == nil:
		return nil
	case s.isClosed:
		// As TCP does to bytes that come after close(2).
		if !f.StreamEnded() {
			s.reset(http2.ErrCodeCancel)
		}
	default:
		_, _ = s.in.Write(f.Data())
		if padding := f.Length - uint32(len(f.Data())); padding > 0 {
			s.give(padding)
		}
	}
	if f.StreamEnded() {
		s.endReceived()
	}
	s.changed.Broadcast()
	return nil
}

func (c *Conn) newStream(id uint32) *Stream {
	s := &Stream{c: c, id: id, window: int64(c.initial)}
	s.changed.L = &c.mu
	c.streams[id] = s
	return s
}

// writeHead queues a field block. The Conn is locked.
func (c *Conn) writeHead(id uint32, fields []Field, isEnd bool) error {
	c.block.Reset()
	for _, field := range fields {
		_ = c.encoder.WriteField(field) // into a buffer
	}
	rest := c.block.Bytes()
	n := min(len(rest), int(c.maxFrame))
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: rest[:n], EndStream: isEnd, EndHeaders: n == len(rest)})
	for rest = rest[n:]; len(rest) > 0 && err == nil; rest = rest[n:] {
		n = min(len(rest), int(c.maxFrame))
		err = c.framer.WriteContinuation(id, n == len(rest), rest[:n])
	}
	return err
}

// Open opens a stream with a request. It waits while the peer allows no further stream.
func (c *Conn) Open(fields []Field, isEnd bool) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.wait(func() bool { return uint32(len(c.streams)) < c.maxStreams || c.goAway != nil }); err != nil {
		return nil, err
	}
	if c.goAway != nil {
		return nil, &ResetError{http2.ErrCodeRefusedStream}
	}
	s := c.newStream(c.next)
	s.Fields = fields
	s.isEndSent = isEnd
	c.next += 2
	c.opened++
	return s, c.writeHead(s.id, fields, isEnd)
}

// OpenWebSocket opens a WebSocket. Without an error, the stream is nil if the answer isn't 200; then the response has its body.
func (c *Conn) OpenWebSocket(authority, path string, more ...Field) (*Stream, *Response, error) {
	s, err := c.Open(WebSocket(authority, path, more...), false)
	if err != nil {
		return nil, nil, err
	}
	response, err := s.Response()
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	if response.Status == 200 {
		return s, response, nil
	}
	_ = s.SetReadDeadline(time.Now().Add(patience))
	response.Body, err = io.ReadAll(s)
	var reset *ResetError
	if errors.As(err, &reset) && reset.Code == http2.ErrCodeNo {
		err = nil
	}
	return nil, response, errors.Join(err, s.Close())
}

// CanConnect reports whether the peer offers WebSocket.
func (c *Conn) CanConnect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.canConnect
}

// Streams returns how many streams are open.
func (c *Conn) Streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams)
}

// Opened returns how many streams there have been.
func (c *Conn) Opened() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened
}

// GoAway returns what the peer's GOAWAY says.
func (c *Conn) GoAway() (last uint32, code http2.ErrCode, isGoing bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.goAway == nil {
		return 0, 0, false
	}
	return c.goAway.LastStreamID, c.goAway.ErrCode, true
}

// AwaitGoAway waits for the peer's GOAWAY and returns its code.
func (c *Conn) AwaitGoAway() (http2.ErrCode, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.wait(func() bool { return c.goAway != nil }); c.goAway == nil {
		return 0, err
	}
	return c.goAway.ErrCode, nil
}

// SendGoAway tells the peer that no further stream is accepted. Those that are open go on.
func (c *Conn) SendGoAway(code http2.ErrCode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isLeaving = true
	return c.framer.WriteGoAway(c.last, code, nil)
}

// Ping sends a PING and waits for its answer.
func (c *Conn) Ping() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pings++
	if err := c.framer.WritePing(false, [8]byte{}); err != nil {
		return err
	}
	return c.wait(func() bool { return c.pings == 0 })
}

// ChangeSettings sends settings and waits until the peer has acknowledged them.
func (c *Conn) ChangeSettings(settings ...http2.Setting) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unsettled++
	if err := c.framer.WriteSettings(settings...); err != nil {
		return err
	}
	return c.wait(func() bool { return c.unsettled == 0 })
}

// Done is closed after the connection's end and, of a server, after the last handler.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns what ended the connection: io.EOF if the peer closed it, net.ErrClosed after Close.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// LocalAddr returns the address of our end.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// Close closes the connection, with what its streams are at. What waits for the socket is sent if the peer takes it soon.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = net.ErrClosed
		_ = c.conn.SetWriteDeadline(time.Now().Add(lingering))
		c.wake()
		rest := bytes.Clone(c.out.Bytes())
		c.out.Reset()
		c.mu.Unlock()
		_, _ = c.conn.Write(rest)
		c.mu.Lock()
	}
	return c.conn.Close()
}
