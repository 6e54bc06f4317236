package h2

import (
	"math"
	"time"

	"golang.org/x/net/http2/hpack"
)

// clientPreface is what a client sends first (RFC 9113 section 3.4).
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// A Conn is one connection. The zero value is for Begin. Owned by one goroutine. Each method that appends to out returns it.
type Conn struct {
	config  *Config
	streams []*Stream // those that aren't closed, by id
	decoder *hpack.Decoder
	list    *list // during the decoding of a field block
	fault   *Fault

	partial []byte // a frame that has come in part: its head, or head and some payload
	block   block
	data    data
	bounds  bounds

	// During Receive.
	out []byte
	now time.Duration

	highest      uint32 // id of streams that were opened: by the peer of a Server, by a Client itself
	resetUpTo    uint32 // id of streams that we have reset: of those, and of lower ones, something may still be on its way
	lastAccepted uint32 // the last id in our GOAWAY
	refusedOver  uint32 // the last id in the peer's GOAWAY

	sendWindow  int32 // bytes of DATA that the peer lets us send on the connection
	recvWindow  int32 // bytes of DATA that the peer may send on it
	received    int32 // bytes of DATA that are to be given back on it
	peerWindow  int32 // initial window of a stream that the peer has set
	peerStreams uint32

	late uint32 // frames that may still come of streams that we have reset (Client)

	preface      uint8 // bytes of the client's preface that have come (Server)
	isReady      bool
	canConnect   bool
	isGoing      bool // GOAWAY was sent
	isPeerGoing  bool // GOAWAY has come
	hasRefused   bool // streams over refusedOver are to be reported
	hasWindow    bool // a Window event of the connection is to be reported
	hasTableSize bool // the peer was told that no dynamic table is used
}

// Begin begins a connection. It appends what opens it: the preface of a Client, and the settings.
func (c *Conn) Begin(config *Config, out []byte) []byte {
	*c = Conn{
		config:      config,
		sendWindow:  StreamWindow,
		recvWindow:  connWindow,
		peerWindow:  StreamWindow,
		peerStreams: math.MaxUint32,
	}
	if config.Role == Client {
		out = append(out, clientPreface...)
	}
	out = appendSettings(out, config)
	return appendUint32(out, frameWindowUpdate, 0, connWindow-StreamWindow)
}

// Receive consumes bytes that came and returns the first event in them, and how many bytes it has consumed. It is called again with the
// rest, even if nothing is left, until the event is None: then all are consumed, and what isn't whole is kept in the Conn. It appends what is
// to be sent: acknowledgements, windows of the connection, resets for what concerns a stream alone (no event, or Reset for a stream that the
// caller knows). now is a monotonic time, for the bounds of rule 33. After an error, which is a *Fault, the connection is to be ended: out has
// the GOAWAY.
func (c *Conn) Receive(p []byte, now time.Duration, out []byte) (e Event, n int, _ []byte, err error) {
	if c.fault != nil {
		return Event{}, 0, out, c.fault
	}
	c.out, c.now = out, now
	for {
		if e = c.pending(); e.Kind != None || n == len(p) {
			break
		}
		var m int
		var f *Fault
		m, e, f = c.receive(p[n:])
		n += m
		if f != nil {
			c.fault, err = f, f
			c.partial, c.block = nil, block{}
			c.out = c.AppendGoAway(c.out, f.Code, f.Text)
			break
		}
		if e.Kind != None {
			break
		}
	}
	out, c.out = c.out, nil
	return e, n, out, err
}

// pending returns an event that is owed for bytes that are consumed.
func (c *Conn) pending() Event {
	if c.hasRefused {
		if last := len(c.streams) - 1; last >= 0 && c.streams[last].id > c.refusedOver {
			s := c.streams[last]
			c.remove(s)
			return Event{Kind: Reset, Stream: s, Code: RefusedStream}
		}
		c.hasRefused = false
	}
	if c.hasWindow {
		c.hasWindow = false
		return Event{Kind: Window}
	}
	return Event{}
}

// receive consumes some of p, which isn't empty: to the end of the preface, of a frame's head or of its payload, or all.
func (c *Conn) receive(p []byte) (n int, e Event, f *Fault) {
	if c.config.Role == Server && int(c.preface) < len(clientPreface) {
		n = min(len(p), len(clientPreface)-int(c.preface))
		if string(p[:n]) != clientPreface[c.preface:int(c.preface)+n] {
			return n, e, &Fault{ProtocolError, "the connection does not begin with the preface of HTTP/2"}
		}
		c.preface += uint8(n)
		return n, e, nil
	}
	if c.data.isInside {
		return c.receiveData(p)
	}

	frame := p
	if len(c.partial) > 0 || len(p) < headBytes {
		n = c.keep(p, headBytes)
		if frame = c.partial; len(frame) < headBytes {
			return n, e, nil
		}
	}
	h := readHead(frame)
	if f = c.checkHead(h); f != nil {
		return n, e, f
	}
	if h.kind == frameData || h.kind > frameContinuation {
		if c.partial == nil {
			n = headBytes
		}
		c.partial = nil
		e, f = c.beginData(h)
		return n, e, f
	}
	size := headBytes + h.length
	if c.partial == nil && len(p) >= size {
		e, f = c.receiveFrame(h, p[headBytes:size])
		return size, e, f
	}
	n += c.keep(p[n:], size)
	if len(c.partial) < size {
		return n, e, nil
	}
	frame = c.partial
	c.partial = nil
	e, f = c.receiveFrame(h, frame[headBytes:])
	return n, e, f
}

// keep moves bytes from p to the partial frame until that has size bytes, or p is empty, and returns how many.
func (c *Conn) keep(p []byte, size int) int {
	n := max(0, min(len(p), size-len(c.partial)))
	c.partial = append(c.partial, p[:n]...)
	return n
}

// IsInside reports whether a field block or a frame other than DATA has come in part, or the preface: the caller bounds how long that may last.
func (c *Conn) IsInside() bool {
	return len(c.partial) > 0 || c.block.id != 0 || c.preface > 0 && int(c.preface) < len(clientPreface)
}
