package h2

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A peer is the other end of a Conn: frames by x/net's Framer, fields by its encoder.
type peer struct {
	t   *testing.T
	c   *Conn
	out []byte // what the Conn has appended and the peer hasn't read
	now time.Duration

	wire bytes.Buffer
	f    *http2.Framer
	enc  *hpack.Encoder
	encs bytes.Buffer
	dec  *hpack.Decoder
}

// newPeer begins a Conn and gives it the peer's preface and settings.
func newPeer(t *testing.T, config Config) *peer {
	t.Helper()
	p := rawPeer(t, config)
	if config.Role == Server {
		p.wire.WriteString(clientPreface)
	}
	if err := p.f.WriteSettings(http2.Setting{ID: 8, Val: 1}); err != nil {
		t.Fatal(err)
	}
	if got := p.send(); len(got) != 1 || got[0].Kind != Settings {
		t.Fatalf("events of the preface: %v", got)
	}
	p.out = p.out[:0]
	return p
}

func rawPeer(t *testing.T, config Config) *peer {
	p := &peer{t: t, c: &Conn{}, now: time.Hour}
	p.f = http2.NewFramer(&p.wire, &p.wire)
	p.f.AllowIllegalWrites = true
	p.enc = hpack.NewEncoder(&p.encs)
	p.dec = hpack.NewDecoder(4096, nil)
	p.out = p.c.Begin(&config, nil)
	return p
}

var server = Config{Role: Server, Streams: 4, Connect: true}
var client = Config{Role: Client, Streams: 4}

// block encodes fields, which alternate: name, value.
func (p *peer) block(fields ...string) []byte {
	p.encs.Reset()
	for i := 0; i < len(fields); i += 2 {
		if err := p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			p.t.Fatal(err)
		}
	}
	return bytes.Clone(p.encs.Bytes())
}

// headers writes a HEADERS frame.
func (p *peer) headers(id uint32, isEnd bool, fields ...string) *peer {
	_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndStream: isEnd, EndHeaders: true})
	return p
}

// send gives the Conn what was written and returns the events, whose Data is copied.
func (p *peer) send() []Event {
	p.t.Helper()
	events, err := p.trySend()
	if err != nil {
		p.t.Fatalf("Receive: %v", err)
	}
	return events
}

func (p *peer) trySend() (events []Event, err error) {
	b := p.wire.Bytes()
	defer p.wire.Reset()
	return p.receive(b)
}

func (p *peer) receive(b []byte) (events []Event, err error) {
	for {
		e, n, out, err := p.c.Receive(b, p.now, p.out)
		p.out = out
		b = b[n:]
		if err != nil {
			var f *Fault
			if !errors.As(err, &f) {
				p.t.Fatalf("error %v is no Fault", err)
			}
			return events, err
		}
		if e.Kind == None {
			if len(b) > 0 {
				p.t.Fatalf("%d bytes left without an event", len(b))
			}
			return events, nil
		}
		e.Data = bytes.Clone(e.Data)
		events = append(events, e)
	}
}

// frames reads what the Conn has appended.
func (p *peer) frames() (frames []string) {
	p.t.Helper()
	f := http2.NewFramer(nil, bytes.NewReader(p.out))
	f.SetMaxReadFrameSize(1 << 20)
	p.out = p.out[:0]
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return frames
		}
		frames = append(frames, p.frame(fr))
	}
}

// frame describes a frame in a line.
func (p *peer) frame(fr http2.Frame) string {
	var b strings.Builder
	b.WriteString(fr.Header().Type.String())
	switch fr := fr.(type) {
	case *http2.RSTStreamFrame:
		return b.String() + " " + itoa(fr.StreamID) + " " + fr.ErrCode.String()
	case *http2.GoAwayFrame:
		return b.String() + " " + itoa(fr.LastStreamID) + " " + fr.ErrCode.String()
	case *http2.WindowUpdateFrame:
		return b.String() + " " + itoa(fr.StreamID) + " " + itoa(fr.Increment)
	case *http2.DataFrame:
		return b.String() + " " + itoa(fr.StreamID) + " " + string(fr.Data()) + end(fr.StreamEnded())
	case *http2.HeadersFrame:
		s := b.String() + " " + itoa(fr.StreamID)
		if fr.HeadersEnded() {
			fields, err := p.dec.DecodeFull(fr.HeaderBlockFragment())
			if err != nil {
				p.t.Fatalf("fields that we have encoded: %v", err)
			}
			for _, f := range fields {
				s += " " + f.Name + "=" + f.Value
			}
		}
		return s + end(fr.StreamEnded())
	case *http2.SettingsFrame:
		if fr.IsAck() {
			return b.String() + " ACK"
		}
		_ = fr.ForeachSetting(func(s http2.Setting) error { b.WriteString(" " + s.String()); return nil })
	case *http2.PingFrame:
		if fr.IsAck() {
			return b.String() + " ACK " + string(fr.Data[:])
		}
	}
	return b.String()
}

func end(is bool) string {
	if is {
		return " END"
	}
	return ""
}

func itoa(v uint32) string { return strconv.FormatUint(uint64(v), 10) }

func TestClientOpensWebSocketAndBothSendData(t *testing.T) {
	p := newPeer(t, server)
	p.headers(1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/chat", ":authority", "example.com",
		"sec-websocket-version", "13", "cookie", "a=1", "origin", "https://example.com", "cookie", "b=2")
	got := p.send()
	if len(got) != 1 || got[0].Kind != Opened || got[0].IsEnd {
		t.Fatalf("events: %+v", got)
	}
	want := &Head{Method: "CONNECT", Scheme: "https", Authority: "example.com", Path: "/chat", Protocol: "websocket",
		Fields: []Field{{"sec-websocket-version", "13"}, {"cookie", "a=1; b=2"}, {"origin", "https://example.com"}}}
	if diff := cmp.Diff(want, got[0].Head); diff != "" {
		t.Error(diff)
	}
	s := got[0].Stream

	p.out = p.c.AppendHeaders(p.out, s, []Field{{":status", "200"}, {"sec-websocket-protocol", "chat"}}, false)
	p.out = append(p.c.AppendData(p.out, s, 5, false), "hello"...)
	p.out = p.c.AppendData(p.out, s, 0, true)
	wantFrames := []string{"HEADERS 1 :status=200 sec-websocket-protocol=chat", "DATA 1 hello", "DATA 1  END"}
	if diff := cmp.Diff(wantFrames, p.frames()); diff != "" {
		t.Error(diff)
	}

	_ = p.f.WriteData(1, false, []byte("to you"))
	_ = p.f.WriteDataPadded(1, true, []byte("bye"), make([]byte, 200))
	got = p.send()
	if len(got) != 2 || string(got[0].Data) != "to you" || string(got[1].Data) != "bye" || !got[1].IsEnd || got[1].Stream != s {
		t.Errorf("events: %+v", got)
	}
	if p.c.Count() != 0 || p.c.CanSend(s) || !p.c.HasEnded(s) {
		t.Error("the stream isn't closed")
	}
}

func TestClientRoleOpensAndIsAnswered(t *testing.T) {
	p := newPeer(t, client)
	if !p.c.CanConnect() || p.c.Room() != 4 {
		t.Fatalf("CanConnect %v, Room %d", p.c.CanConnect(), p.c.Room())
	}
	s, out := p.c.Open(p.out, []Field{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", "/"}, {":authority", "b"}}, false)
	p.out = out
	if got := p.frames(); len(got) != 1 || got[0] != "HEADERS 1 :method=CONNECT :protocol=websocket :scheme=http :path=/ :authority=b" {
		t.Errorf("frames: %q", got)
	}
	p.headers(1, false, ":status", "103", "link", "x").headers(1, false, ":status", "200", "server", "b")
	_ = p.f.WriteData(1, true, []byte("x"))
	got := p.send()
	if len(got) != 3 || got[0].Head.Status != 103 || got[1].Head.Status != 200 || string(got[2].Data) != "x" || !got[2].IsEnd || got[2].Stream != s {
		t.Errorf("events: %+v", got)
	}
	if p.out = p.c.AppendReset(p.out, s, Cancel); p.c.Count() != 0 {
		t.Error("the stream is still there")
	}
	if got := p.frames(); len(got) != 1 || got[0] != "RST_STREAM 1 CANCEL" {
		t.Errorf("frames: %q", got)
	}
}
