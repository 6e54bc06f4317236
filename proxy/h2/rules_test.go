package h2

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

var get = []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", "a"}

// raw writes a frame of any type.
func (p *peer) raw(kind http2.FrameType, flags http2.Flags, id uint32, payload string) {
	_ = p.f.WriteRawFrame(kind, flags, id, []byte(payload))
}

// describe is an event in a line.
func describe(e Event) string {
	var b strings.Builder
	fmt.Fprint(&b, [...]string{"None", "Opened", "Headers", "Data", "Reset", "Window", "Settings", "GoingAway"}[e.Kind])
	if e.Stream != nil {
		fmt.Fprint(&b, " ", e.Stream.ID())
	}
	if e.Kind == Data {
		fmt.Fprintf(&b, " %.20s", e.Data)
	}
	if e.Kind == Reset {
		fmt.Fprint(&b, " ", e.Code)
	}
	if e.IsEnd {
		b.WriteString(" END")
	}
	return b.String()
}

// TestFramesOfClients gives a server what h2spec's groups have, and more. want are the events, then the frames that are sent for them, then
// the code of the fault.
func TestFramesOfClients(t *testing.T) {
	big := strings.Repeat("x", maxFrame)
	tests := []struct {
		name string
		send func(p *peer)
		want string
	}{
		{"DATA on stream 0", func(p *peer) { p.raw(frameData, 0, 0, "x") }, "PROTOCOL_ERROR"},
		{"DATA on an idle stream", func(p *peer) { p.raw(frameData, 0, 1, "x") }, "PROTOCOL_ERROR"},
		{"DATA on a server's stream", func(p *peer) { p.headers(3, false, get...).raw(frameData, 0, 2, "x") }, "Opened 3; PROTOCOL_ERROR"},
		{"DATA after END_STREAM", func(p *peer) { p.headers(1, true, get...).raw(frameData, 0, 1, "x") }, "Opened 1 END; Reset 1 STREAM_CLOSED; RST_STREAM 1 STREAM_CLOSED"},
		{"DATA after RST_STREAM", func(p *peer) {
			p.headers(1, false, get...).raw(frameRSTStream, 0, 1, "\x00\x00\x00\x08")
			p.raw(frameData, 0, 1, "x")
		}, "Opened 1; Reset 1 CANCEL; STREAM_CLOSED"},
		{"DATA whose padding is the whole frame", func(p *peer) { p.headers(1, false, get...).raw(frameData, flagPadded|flagEndStream, 1, "\x02\x00\x00") },
			"Opened 1; Data 1  END"},
		{"DATA with too much padding", func(p *peer) { p.headers(1, false, get...).raw(frameData, flagPadded, 1, "\x03\x00\x00") }, "Opened 1; PROTOCOL_ERROR"},
		{"padded DATA without a length", func(p *peer) { p.headers(1, false, get...).raw(frameData, flagPadded, 1, "") }, "Opened 1; FRAME_SIZE_ERROR"},
		{"a frame that is too large", func(p *peer) { p.headers(1, false, get...).raw(frameData, 0, 1, big+"x") }, "Opened 1; FRAME_SIZE_ERROR"},
		{"a frame of the largest size", func(p *peer) { p.headers(1, false, get...).raw(frameData, 0, 1, big) }, "Opened 1; Data 1 xxxxxxxxxxxxxxxxxxxx"},
		{"an unknown frame that is too large", func(p *peer) { p.raw(0x42, 0, 1, big+"x") }, "FRAME_SIZE_ERROR"},
		{"an unknown frame", func(p *peer) { p.raw(0x42, 0xff, 0, "anything"); p.raw(framePing, 0, 0, "12345678") }, "PING ACK 12345678"},

		{"HEADERS on stream 0", func(p *peer) { p.raw(frameHeaders, flagEndHeaders, 0, string(p.block(get...))) }, "PROTOCOL_ERROR"},
		{"HEADERS on an even stream", func(p *peer) { p.headers(2, false, get...) }, "PROTOCOL_ERROR"},
		{"HEADERS on a lower stream", func(p *peer) { p.headers(5, true, get...).headers(3, true, get...) }, "Opened 5 END; STREAM_CLOSED"},
		{"HEADERS after END_STREAM", func(p *peer) { p.headers(1, true, get...).headers(1, true, get...) },
			"Opened 1 END; Reset 1 STREAM_CLOSED; RST_STREAM 1 STREAM_CLOSED"},
		{"HEADERS after RST_STREAM", func(p *peer) {
			p.headers(1, false, get...).raw(frameRSTStream, 0, 1, "\x00\x00\x00\x08")
			p.headers(1, true, get...)
		}, "Opened 1; Reset 1 CANCEL; STREAM_CLOSED"},
		{"HEADERS padded, with a priority", func(p *peer) {
			_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.block(get...), EndHeaders: true, PadLength: 9, Priority: http2.PriorityParam{StreamDep: 1}})
		}, "Opened 3"},
		{"HEADERS that depends on itself", func(p *peer) {
			_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: p.block(get...), EndHeaders: true, Priority: http2.PriorityParam{StreamDep: 3}})
		}, "RST_STREAM 3 PROTOCOL_ERROR"},
		{"HEADERS with too much padding", func(p *peer) { p.raw(frameHeaders, flagPadded|flagEndHeaders, 1, "\x02\x82") }, "PROTOCOL_ERROR"},
		{"HEADERS without its padding's length", func(p *peer) { p.raw(frameHeaders, flagPadded|flagEndHeaders, 1, "") }, "FRAME_SIZE_ERROR"},
		{"HEADERS without its priority", func(p *peer) { p.raw(frameHeaders, flagPriority|flagEndHeaders, 1, "\x00\x00\x00\x00") }, "FRAME_SIZE_ERROR"},
		{"HEADERS over the limit of streams", func(p *peer) {
			for id := uint32(1); id <= 11; id += 2 {
				p.headers(id, false, get...)
			}
			p.raw(frameData, 0, 9, "x")
		}, "Opened 1; Opened 3; Opened 5; Opened 7; RST_STREAM 9 REFUSED_STREAM; RST_STREAM 11 REFUSED_STREAM"},
		{"a block that isn't HPACK", func(p *peer) { p.raw(frameHeaders, flagEndHeaders, 1, "\xff\xff") }, "COMPRESSION_ERROR"},
		{"a block that ends inside a field", func(p *peer) { p.raw(frameHeaders, flagEndHeaders, 1, "\x82\x40\x05a") }, "COMPRESSION_ERROR"},

		{"CONTINUATION", func(p *peer) {
			b := string(p.block(get...))
			p.raw(frameHeaders, flagEndStream, 1, b[:2])
			p.raw(frameContinuation, 0, 1, "")
			p.raw(frameContinuation, 0, 1, b[2:3])
			p.raw(frameContinuation, flagEndHeaders, 1, b[3:])
		}, "Opened 1 END"},
		{"CONTINUATION of another stream", func(p *peer) { p.raw(frameHeaders, 0, 1, "\x82"); p.raw(frameContinuation, 4, 3, "") }, "PROTOCOL_ERROR"},
		{"CONTINUATION without HEADERS", func(p *peer) { p.headers(1, false, get...).raw(frameContinuation, 4, 1, "\x82") }, "Opened 1; PROTOCOL_ERROR"},
		{"DATA inside a field block", func(p *peer) { p.raw(frameHeaders, 0, 1, "\x82"); p.raw(frameData, 0, 1, "") }, "PROTOCOL_ERROR"},
		{"an unknown frame inside a field block", func(p *peer) { p.raw(frameHeaders, 0, 1, "\x82"); p.raw(0x42, 0, 1, "") }, "PROTOCOL_ERROR"},
		{"a field block over the bound", func(p *peer) {
			p.raw(frameHeaders, 0, 1, big)
			for range 4 {
				p.raw(frameContinuation, 0, 1, big)
			}
		}, "ENHANCE_YOUR_CALM"},

		{"trailers", func(p *peer) {
			p.headers(1, false, get...).raw(frameData, 0, 1, "x")
			p.headers(1, true, "checksum", "1")
		}, "Opened 1; Data 1 x; Headers 1 END"},
		{"trailers without END_STREAM", func(p *peer) { p.headers(1, false, get...).headers(1, false, "checksum", "1") },
			"Opened 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"trailers with a pseudo-header field", func(p *peer) { p.headers(1, false, get...).headers(1, true, ":method", "GET") },
			"Opened 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"HEADERS in a tunnel", func(p *peer) { p.headers(1, false, ":method", "CONNECT", ":authority", "a").headers(1, true, "a", "1") },
			"Opened 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"less DATA than content-length", func(p *peer) {
			p.headers(1, false, append(get, "content-length", "2")...).raw(frameData, flagEndStream, 1, "x")
		}, "Opened 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"more DATA than content-length", func(p *peer) {
			p.headers(1, false, append(get, "content-length", "2")...).raw(frameData, 0, 1, "xyz")
		}, "Opened 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"as much DATA as content-length, padded", func(p *peer) {
			p.headers(1, false, append(get, "content-length", "2")...).raw(frameData, flagPadded, 1, "\x01x\x00")
			p.raw(frameData, flagEndStream, 1, "y")
		}, "Opened 1; Data 1 xy END"},
		{"trailers before content-length is reached", func(p *peer) {
			p.headers(1, false, append(get, "content-length", "2")...).headers(1, true, "a", "b")
		}, "Opened 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"no DATA with a content-length", func(p *peer) { p.headers(1, true, append(get, "content-length", "2")...) }, "RST_STREAM 1 PROTOCOL_ERROR"},

		{"PRIORITY", func(p *peer) { p.raw(framePriority, 0, 9, "\x00\x00\x00\x01\x10") }, ""},
		{"PRIORITY on stream 0", func(p *peer) { p.raw(framePriority, 0, 0, "\x00\x00\x00\x01\x10") }, "PROTOCOL_ERROR"},
		{"PRIORITY of a wrong size", func(p *peer) { p.headers(1, false, get...).raw(framePriority, 0, 1, "\x00\x00\x00\x03") },
			"Opened 1; Reset 1 FRAME_SIZE_ERROR; RST_STREAM 1 FRAME_SIZE_ERROR"},
		{"PRIORITY of a wrong size on an idle stream", func(p *peer) { p.raw(framePriority, 0, 1, "") }, "FRAME_SIZE_ERROR"},
		{"PRIORITY on itself", func(p *peer) { p.headers(1, false, get...).raw(framePriority, 0, 1, "\x00\x00\x00\x01\x10") },
			"Opened 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},

		{"RST_STREAM", func(p *peer) { p.headers(1, false, get...).raw(frameRSTStream, 0, 1, "\x00\x00\x00\x08") }, "Opened 1; Reset 1 CANCEL"},
		{"RST_STREAM twice", func(p *peer) {
			p.headers(1, false, get...).raw(frameRSTStream, 0, 1, "\x00\x00\x00\x08")
			p.raw(frameRSTStream, 0, 1, "\x00\x00\x00\x08")
		}, "Opened 1; Reset 1 CANCEL"},
		{"RST_STREAM on stream 0", func(p *peer) { p.raw(frameRSTStream, 0, 0, "\x00\x00\x00\x08") }, "PROTOCOL_ERROR"},
		{"RST_STREAM on an idle stream", func(p *peer) { p.raw(frameRSTStream, 0, 1, "\x00\x00\x00\x08") }, "PROTOCOL_ERROR"},
		{"RST_STREAM of a wrong size", func(p *peer) { p.headers(1, false, get...).raw(frameRSTStream, 0, 1, "\x00\x00\x00") }, "Opened 1; FRAME_SIZE_ERROR"},

		{"SETTINGS", func(p *peer) { p.raw(frameSettings, 0, 0, "\x00\x42\x00\x00\x00\x00") }, "Settings; SETTINGS ACK"},
		{"SETTINGS ACK with a payload", func(p *peer) { p.raw(frameSettings, flagAck, 0, "\x00\x03\x00\x00\x00\x00") }, "FRAME_SIZE_ERROR"},
		{"SETTINGS on a stream", func(p *peer) { p.raw(frameSettings, 0, 1, "") }, "PROTOCOL_ERROR"},
		{"SETTINGS of a wrong size", func(p *peer) { p.raw(frameSettings, 0, 0, "\x00\x03\x00") }, "FRAME_SIZE_ERROR"},
		{"ENABLE_PUSH of 2", func(p *peer) { p.raw(frameSettings, 0, 0, "\x00\x02\x00\x00\x00\x02") }, "PROTOCOL_ERROR"},
		{"INITIAL_WINDOW_SIZE of 2^31", func(p *peer) { p.raw(frameSettings, 0, 0, "\x00\x04\x80\x00\x00\x00") }, "FLOW_CONTROL_ERROR"},
		{"INITIAL_WINDOW_SIZE that overflows a window", func(p *peer) {
			p.headers(1, false, get...).raw(frameWindowUpdate, 0, 1, "\x00\x01\x00\x00")
			p.raw(frameSettings, 0, 0, "\x00\x04\x7f\xff\xff\xff")
		}, "Opened 1; FLOW_CONTROL_ERROR"},
		{"MAX_FRAME_SIZE of 2^14-1", func(p *peer) { p.raw(frameSettings, 0, 0, "\x00\x05\x00\x00\x3f\xff") }, "PROTOCOL_ERROR"},
		{"MAX_FRAME_SIZE of 2^24", func(p *peer) { p.raw(frameSettings, 0, 0, "\x00\x05\x01\x00\x00\x00") }, "PROTOCOL_ERROR"},
		{"ENABLE_CONNECT_PROTOCOL of 2", func(p *peer) { p.raw(frameSettings, 0, 0, "\x00\x08\x00\x00\x00\x02") }, "PROTOCOL_ERROR"},
		{"ENABLE_CONNECT_PROTOCOL withdrawn", func(p *peer) { p.raw(frameSettings, 0, 0, "\x00\x08\x00\x00\x00\x00") }, "PROTOCOL_ERROR"},

		{"PUSH_PROMISE", func(p *peer) {
			p.headers(1, false, get...).raw(framePushPromise, flagEndHeaders, 1, "\x00\x00\x00\x02\x82")
		}, "Opened 1; PROTOCOL_ERROR"},
		{"PING", func(p *peer) { p.raw(framePing, 0, 0, "abcdefgh"); p.raw(framePing, flagAck, 0, "abcdefgh") }, "PING ACK abcdefgh"},
		{"PING on a stream", func(p *peer) { p.raw(framePing, 0, 1, "abcdefgh") }, "PROTOCOL_ERROR"},
		{"PING of a wrong size", func(p *peer) { p.raw(framePing, 0, 0, "abcdefg") }, "FRAME_SIZE_ERROR"},
		{"GOAWAY", func(p *peer) {
			p.headers(1, false, get...).raw(frameGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00bye")
			p.raw(frameData, 0, 1, "x")
		}, "Opened 1; GoingAway; Data 1 x"},
		{"GOAWAY on a stream", func(p *peer) { p.raw(frameGoAway, 0, 1, "\x00\x00\x00\x00\x00\x00\x00\x00") }, "PROTOCOL_ERROR"},
		{"GOAWAY of a wrong size", func(p *peer) { p.raw(frameGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00") }, "FRAME_SIZE_ERROR"},

		{"WINDOW_UPDATE", func(p *peer) { p.headers(1, false, get...).raw(frameWindowUpdate, 0, 1, "\x00\x00\x00\x01") }, "Opened 1"},
		{"WINDOW_UPDATE of 0", func(p *peer) { p.raw(frameWindowUpdate, 0, 0, "\x00\x00\x00\x00") }, "PROTOCOL_ERROR"},
		{"WINDOW_UPDATE of 0 on a stream", func(p *peer) { p.headers(1, false, get...).raw(frameWindowUpdate, 0, 1, "\x00\x00\x00\x00") },
			"Opened 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"WINDOW_UPDATE that overflows", func(p *peer) { p.raw(frameWindowUpdate, 0, 0, "\x7f\xff\xff\xff") }, "FLOW_CONTROL_ERROR"},
		{"WINDOW_UPDATE that overflows on a stream", func(p *peer) { p.headers(1, false, get...).raw(frameWindowUpdate, 0, 1, "\x7f\xff\xff\xff") },
			"Opened 1; Reset 1 FLOW_CONTROL_ERROR; RST_STREAM 1 FLOW_CONTROL_ERROR"},
		{"WINDOW_UPDATE on an idle stream", func(p *peer) { p.raw(frameWindowUpdate, 0, 1, "\x00\x00\x00\x01") }, "PROTOCOL_ERROR"},
		{"WINDOW_UPDATE on a closed stream", func(p *peer) {
			p.headers(1, false, get...).raw(frameRSTStream, 0, 1, "\x00\x00\x00\x08")
			p.raw(frameWindowUpdate, 0, 1, "\x00\x00\x00\x01")
		}, "Opened 1; Reset 1 CANCEL"},
		{"WINDOW_UPDATE of a wrong size", func(p *peer) { p.raw(frameWindowUpdate, 0, 0, "\x00\x00\x01") }, "FRAME_SIZE_ERROR"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			check(t, func() *peer { return newPeer(t, server) }, test.send, test.want)
		})
	}
}

// check has a Conn receive what send writes, whole and byte by byte, and compares what happens.
func check(t *testing.T, begin func() *peer, send func(p *peer), want string) {
	t.Helper()
	for _, size := range []int{1 << 20, 1} {
		p := begin()
		send(p)
		if got := p.happens(p.wire.Bytes(), size); got != want {
			t.Errorf("in pieces of %d bytes\ngot  %s\nwant %s", size, got, want)
		}
	}
}

// happens gives the Conn b in pieces and describes events, frames and the fault. The DATA of a stream is shown as if it came at once.
func (p *peer) happens(b []byte, size int) string {
	p.t.Helper()
	var all []Event
	var err error
	for len(b) > 0 && err == nil {
		var events []Event
		n := min(size, len(b))
		events, err = p.receive(b[:n])
		b = b[n:]
		for _, e := range events {
			if last := len(all) - 1; e.Kind == Data && last >= 0 && all[last].Kind == Data && all[last].Stream == e.Stream {
				all[last].Data, all[last].IsEnd = append(all[last].Data, e.Data...), e.IsEnd
				continue
			}
			all = append(all, e)
		}
	}
	var parts []string
	for _, e := range all {
		parts = append(parts, describe(e))
	}
	frames := p.frames()
	var f *Fault
	if errors.As(err, &f) {
		if last := frames[len(frames)-1]; !strings.HasPrefix(last, "GOAWAY") || !strings.HasSuffix(last, " "+f.Code.String()) {
			p.t.Errorf("the peer is told %q of %v", last, f)
		}
		if _, n, out, again := p.c.Receive([]byte("x"), p.now, nil); again != err || n != 0 || len(out) > 0 {
			p.t.Error("a Conn that has ended goes on")
		}
		frames = append(frames[:len(frames)-1], f.Code.String())
	}
	return strings.Join(append(parts, frames...), "; ")
}

func TestFirstBytes(t *testing.T) {
	settings := string(appendSettings(nil, &client))
	tests := []struct {
		name   string
		config Config
		send   string
		want   string
	}{
		{"preface and settings", server, clientPreface + settings, "Settings; SETTINGS ACK"},
		{"HTTP/1.1", server, "GET / HTTP/1.1\r\n", "PROTOCOL_ERROR"},
		{"a preface with one byte wrong", server, clientPreface[:23] + "\r" + settings, "PROTOCOL_ERROR"},
		{"PING first", server, clientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", "PROTOCOL_ERROR"},
		{"SETTINGS ACK first", server, clientPreface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00", "PROTOCOL_ERROR"},
		{"settings of a server", client, settings[:9] + settings[9:], "Settings; SETTINGS ACK"},
		{"PING of a server first", client, "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", "PROTOCOL_ERROR"},
		{"a server that pushes", client, "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x01", "PROTOCOL_ERROR"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			begin := func() *peer {
				p := rawPeer(t, test.config)
				p.out = nil
				return p
			}
			check(t, begin, func(p *peer) { p.wire.WriteString(test.send) }, test.want)
		})
	}
}

func TestBeginAppendsSettings(t *testing.T) {
	p := rawPeer(t, server)
	want := []string{"SETTINGS [MAX_CONCURRENT_STREAMS = 4] [ENABLE_CONNECT_PROTOCOL = 1] [MAX_HEADER_LIST_SIZE = 16384]", "WINDOW_UPDATE 0 983041"}
	if diff := cmp.Diff(want, p.frames()); diff != "" {
		t.Error(diff)
	}
	p = rawPeer(t, client)
	p.out = bytes.TrimPrefix(p.out, []byte(clientPreface))
	want = []string{"SETTINGS [ENABLE_PUSH = 0] [MAX_HEADER_LIST_SIZE = 16384]", "WINDOW_UPDATE 0 983041"}
	if diff := cmp.Diff(want, p.frames()); diff != "" {
		t.Error(diff)
	}
}

// TestFramesOfServers is about what concerns a client alone.
func TestFramesOfServers(t *testing.T) {
	tests := []struct {
		name   string
		method string
		send   func(p *peer)
		want   string
	}{
		{"HEADERS on a stream that isn't open", "GET", func(p *peer) { p.headers(3, false, ":status", "200") }, "PROTOCOL_ERROR"},
		{"HEADERS on a server's stream", "GET", func(p *peer) { p.headers(2, false, ":status", "200") }, "PROTOCOL_ERROR"},
		{"PUSH_PROMISE", "GET", func(p *peer) { p.raw(framePushPromise, flagEndHeaders, 1, "\x00\x00\x00\x02\x82") }, "PROTOCOL_ERROR"},
		{"DATA before the response", "GET", func(p *peer) { p.raw(frameData, 0, 1, "x") }, "Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"DATA after an interim response", "GET", func(p *peer) { p.headers(1, false, ":status", "103").raw(frameData, 0, 1, "x") },
			"Headers 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"an interim response with END_STREAM", "GET", func(p *peer) { p.headers(1, true, ":status", "103") }, "Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"101", "GET", func(p *peer) { p.headers(1, false, ":status", "101") }, "Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"no status", "GET", func(p *peer) { p.headers(1, false, "server", "b") }, "Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"a status of 2 digits", "GET", func(p *peer) { p.headers(1, false, ":status", "20") }, "Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"a status and a method", "GET", func(p *peer) { p.headers(1, false, ":status", "200", ":method", "GET") }, "Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"content-length of a response to HEAD", "HEAD", func(p *peer) { p.headers(1, true, ":status", "200", "content-length", "5") }, "Headers 1 END"},
		{"a body in a response to HEAD", "HEAD", func(p *peer) { p.headers(1, false, ":status", "200").raw(frameData, 0, 1, "x") },
			"Headers 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"content-length of 304", "GET", func(p *peer) { p.headers(1, true, ":status", "304", "content-length", "5") }, "Headers 1 END"},
		{"content-length of a tunnel", "CONNECT", func(p *peer) {
			p.headers(1, false, ":status", "200", "content-length", "0").raw(frameData, 0, 1, "x")
		}, "Headers 1; Data 1 x"},
		{"HEADERS in a tunnel", "CONNECT", func(p *peer) { p.headers(1, false, ":status", "200").headers(1, true, "a", "b") },
			"Headers 1; Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR"},
		{"a refusal with a body and trailers", "CONNECT", func(p *peer) {
			p.headers(1, false, ":status", "403", "content-length", "1").raw(frameData, 0, 1, "x")
			p.headers(1, true, "a", "b")
		}, "Headers 1; Data 1 x; Headers 1 END"},
		{"a list of fields that is too large", "GET", func(p *peer) {
			b := p.block(":status", "200", "a", strings.Repeat("~", MaxFieldBytes))
			p.raw(frameHeaders, 0, 1, string(b[:maxFrame]))
			p.raw(frameContinuation, flagEndHeaders, 1, string(b[maxFrame:]))
			p.raw(framePing, 0, 0, "12345678")
		}, "Reset 1 PROTOCOL_ERROR; RST_STREAM 1 PROTOCOL_ERROR; PING ACK 12345678"},
		{"GOAWAY before the stream", "GET", func(p *peer) { p.raw(frameGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00") }, "GoingAway; Reset 1 REFUSED_STREAM"},
		{"GOAWAY after the stream", "GET", func(p *peer) {
			p.raw(frameGoAway, 0, 0, "\x7f\xff\xff\xff\x00\x00\x00\x00")
			p.raw(frameGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00")
			p.headers(1, true, ":status", "200")
		}, "GoingAway; GoingAway; Headers 1 END"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			begin := func() *peer {
				p := newPeer(t, client)
				_, out := p.c.Open(p.out, []Field{{":method", test.method}}, false)
				p.out = out[:0]
				return p
			}
			check(t, begin, test.send, test.want)
		})
	}
}
