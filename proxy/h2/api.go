package h2

import "strconv"

// A Role says which end of a connection a Conn is.
type Role uint8

const (
	Server Role = iota
	Client
)

// A Code is an error code of RFC 9113 section 7.
type Code uint32

const (
	NoError            Code = 0x0
	ProtocolError      Code = 0x1
	InternalError      Code = 0x2
	FlowControlError   Code = 0x3
	SettingsTimeout    Code = 0x4
	StreamClosed       Code = 0x5
	FrameSizeError     Code = 0x6
	RefusedStream      Code = 0x7
	Cancel             Code = 0x8
	CompressionError   Code = 0x9
	ConnectError       Code = 0xa
	EnhanceYourCalm    Code = 0xb
	InadequateSecurity Code = 0xc
	HTTP11Required     Code = 0xd
)

var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String returns the name of RFC 9113, or the number.
func (c Code) String() string {
	if int64(c) < int64(len(codeNames)) {
		return codeNames[c]
	}
	return "0x" + strconv.FormatUint(uint64(c), 16)
}

// A Config is what connections have in common. Immutable.
type Config struct {
	Role    Role
	Streams int  // that the peer may have open at once; for a Client: that it opens itself at most, whatever the peer allows
	Connect bool // Server: WebSocket is offered (SETTINGS_ENABLE_CONNECT_PROTOCOL)
}

// MaxFieldBytes bounds a list of fields, by the measure of RFC 9113 section 6.5.2.
const MaxFieldBytes = 16 << 10

// StreamWindow is how many bytes of DATA a peer may send on a stream before it is given back some: the initial value of RFC 9113 section 6.9.2.
const StreamWindow = 1<<16 - 1

// A Field is a field line, or a pseudo-header field, whose name begins with a colon. Names are in lower case.
type Field struct{ Name, Value string }

// A Head is a list of fields that was received and is well-formed (RFC 9113 section 8). It may be kept.
type Head struct {
	Method, Scheme, Authority, Path, Protocol string  // of a request; "": missing. Authority is also that of a host field, which Fields lacks
	Status                                    int     // of a response
	Fields                                    []Field // the others, in order; several cookie fields are one
	IsTrailer                                 bool    // it ends a body
	IsTooLarge                                bool    // of a request: it has more than MaxFieldBytes, so that some or all of it is missing
}

// A Kind is what an Event tells of.
type Kind uint8

const (
	// None: all bytes are consumed.
	None Kind = iota
	// Opened: the peer has opened Stream with Head (Server).
	Opened
	// Headers: Head of Stream has come: a response (also an interim one), or trailers.
	Headers
	// Data: bytes of Stream have come. They count against its window until AppendTaken.
	Data
	// Reset: the peer has reset Stream with Code, or what it has sent on it was an error: then Code is what it was told. Nothing can be sent on
	// the stream any more.
	Reset
	// Window: the window of Stream let nothing pass, and does again, as soon as that of the connection does (Sendable); Stream is nil: the
	// window of the connection was 0, and isn't any more.
	Window
	// Settings: the peer's settings have come, or changed: IsReady, CanConnect, Room, and the windows of all streams.
	Settings
	// GoingAway: the peer accepts no new streams (GOAWAY). Those with an id over Last weren't processed: each gets a Reset event with RefusedStream after this one.
	GoingAway
)

// An Event is what Receive has found. Data is valid until the next call.
type Event struct {
	Kind   Kind
	Stream *Stream
	Head   *Head
	Data   []byte // a slice of what Receive was given
	IsEnd  bool   // of Opened, Headers, Data: the peer sends no more on the stream (END_STREAM)
	Code   Code
	Fault  *StreamFault // of Reset: the error of the peer for which the stream was reset; nil: the peer has reset it
	Last   uint32
}

// A Fault ends a connection. Receive has appended the GOAWAY that tells the peer.
type Fault struct {
	Code Code
	Text string
}

func (f *Fault) Error() string { return f.Code.String() + ": " + f.Text }

// A StreamFault ends a stream alone. The peer was told the code.
type StreamFault Fault

func (f *StreamFault) Error() string { return (*Fault)(f).Error() }
