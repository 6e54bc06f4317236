package h2

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// BenchmarkReceiveData is a message of 64 bytes in DATA, with its window given back.
func BenchmarkReceiveData(b *testing.B) {
	p := newPeer(&testing.T{}, server)
	s := p.opened(1)
	const messages = 16
	for range messages {
		_ = p.f.WriteData(1, false, make([]byte, 64))
	}
	in := p.wire.Bytes()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		for rest := in; len(rest) > 0; {
			e, n, o, err := p.c.Receive(rest, time.Hour, out[:0])
			if err != nil || e.Kind != Data {
				b.Fatal(e, err)
			}
			rest, out = rest[n:], p.c.AppendTaken(o, s, len(e.Data))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
}

// BenchmarkAppendData is a message of 64 bytes in DATA, whose window is given back now and then.
func BenchmarkAppendData(b *testing.B) {
	p := newPeer(&testing.T{}, server)
	s := p.opened(1)
	var message [64]byte
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		if p.c.Sendable(s) < len(message) {
			s.send, p.c.sendWindow = StreamWindow, StreamWindow
		}
		out = append(p.c.AppendData(out[:0], s, len(message), false), message[:]...)
	}
}

// BenchmarkOpened is a request of a browser, answered and ended.
func BenchmarkOpened(b *testing.B) {
	p := newPeer(&testing.T{}, server)
	fields := browser(1)
	var out []byte
	b.ReportAllocs()
	for id := uint32(1); b.Loop(); id += 2 {
		p.headers(id, true, fields...)
		in := p.wire.Bytes()
		e, _, o, err := p.c.Receive(in, time.Hour, out[:0])
		if err != nil || e.Kind != Opened {
			b.Fatal(e, err)
		}
		out = p.c.AppendHeaders(o, e.Stream, []Field{{":status", "200"}, {"sec-websocket-protocol", "chat"}}, true)
		p.wire.Reset()
	}
}

// browser is a request for a WebSocket as browsers send it. i makes it one of many.
func browser(i int) []string {
	return []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "chat.example.com", ":path", fmt.Sprint("/rooms/", i),
		"pragma", "no-cache", "cache-control", "no-cache", "origin", "https://chat.example.com", "sec-websocket-version", "13",
		"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"accept-encoding", "gzip, deflate, br, zstd", "accept-language", "en-US,en;q=0.9", "cookie", "session=0123456789abcdef0123456789abcdef",
		"sec-websocket-extensions", "permessage-deflate; client_max_window_bits"}
}

// TestIdleBytes measures what an idle connection with 100 idle streams keeps.
func TestIdleBytes(t *testing.T) {
	const conns, streams = 200, 100
	var mem runtime.MemStats
	used := func() int {
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&mem)
		return int(mem.HeapAlloc)
	}
	config := &Config{Role: Server, Streams: streams, Connect: true}
	first := newPeer(t, *config)
	var in []byte
	in = append(in, clientPreface...)
	_ = first.f.WriteSettings(http2.Setting{ID: 8, Val: 1})
	for i := range streams {
		first.headers(uint32(2*i+1), false, browser(i)...)
	}
	in = append(in, first.wire.Bytes()...)
	first.wire.Reset()
	open := make([]*Conn, conns)
	var out []byte
	before := used()
	for i := range open {
		open[i] = &Conn{}
		out = open[i].Begin(config, out[:0])
		for rest := in; ; {
			e, n, o, err := open[i].Receive(rest[:min(1000, len(rest))], time.Hour, out[:0])
			if err != nil {
				t.Fatal(err)
			}
			if rest, out = rest[n:], o; e.Kind == None && len(rest) == 0 {
				break
			}
		}
		if open[i].Count() != streams {
			t.Fatalf("%d streams", open[i].Count())
		}
	}
	each := (used() - before) / conns
	t.Logf("%d bytes a connection with %d streams", each, streams)
	if each > 30000 {
		t.Errorf("a connection with %d idle streams keeps %d bytes", streams, each)
	}
	runtime.KeepAlive(open)
}
