package probe

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/net/http2"

	"sluice/internal/h2test"
	"sluice/internal/units"
)

func TestProbesOverHTTP2(t *testing.T) {
	refusing := func(status int) func(*h2test.Stream) {
		return func(s *h2test.Stream) { _ = s.Refuse(status, "body") }
	}
	for _, test := range []struct {
		name    string
		kind    string
		options h2test.Options
		handle  func(*h2test.Stream)
		want    string // in the error; "": none
	}{
		{"tcp", TCP, h2test.Options{}, refusing(500), ""},
		{"http", HTTP, h2test.Options{NoConnect: true}, func(s *h2test.Stream) { _ = s.Refuse(204, "") }, ""},
		{"http, interim answers first", HTTP, h2test.Options{}, func(s *h2test.Stream) { _ = s.Interim(103); _ = s.Refuse(200, "") }, ""},
		{"http, 503", HTTP, h2test.Options{}, refusing(503), "answer 503"},
		{"http, a reset", HTTP, h2test.Options{}, func(s *h2test.Stream) { _ = s.Reset(http2.ErrCodeRefusedStream) }, "REFUSED_STREAM"},
		{"http, a black hole", HTTP, h2test.Options{}, nil, "timeout"},
		{"websocket", WebSocket, h2test.Options{}, echoStream, ""},
		{"websocket, a window for one byte at a time", WebSocket, h2test.Options{Window: 1}, echoStream, ""},
		{"websocket, 404", WebSocket, h2test.Options{}, refusing(404), "answer 404"},
		{"websocket, not offered", WebSocket, h2test.Options{NoConnect: true}, refusing(404), "SETTINGS_ENABLE_CONNECT_PROTOCOL"},
		{"websocket, closed before the pong", WebSocket, h2test.Options{}, func(s *h2test.Stream) {
			_ = s.Answer(200)
			_ = ws.WriteFrame(s, ws.NewCloseFrame(nil))
			_, _ = io.Copy(io.Discard, s)
		}, "closed"},
		{"websocket, an end before the pong", WebSocket, h2test.Options{}, func(s *h2test.Stream) { _ = s.Answer(200); _ = s.CloseWrite() }, "EOF"},
		{"websocket, no pong", WebSocket, h2test.Options{}, func(s *h2test.Stream) { _ = s.Answer(200); _, _ = io.Copy(io.Discard, s) }, "pong"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.handle == nil {
				test.handle = func(*h2test.Stream) { <-t.Context().Done() }
			}
			backend, err := h2test.Listen(nil, test.options, test.handle)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(backend.Close)
			c := Config{Kind: test.kind, Path: "/health", Timeout: units.Duration(5 * time.Second)}
			if test.want == "timeout" || test.want == "pong" {
				c.Timeout = units.Duration(100 * time.Millisecond)
			}
			err = c.Do(t.Context(), streamBackend(backend.Addr()), nil)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("probe = %v; want healthy", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("probe = %v; want an error with %q", err, test.want)
			}
		})
	}
}

// streamBackend returns the backend at an address that speaks HTTP/2.
func streamBackend(address string) Backend {
	b := backendAt(address)
	b.IsHTTP2, b.Scheme = true, "http"
	return b
}

// echoStream is a backend that answers pings and closes.
func echoStream(s *h2test.Stream) {
	_ = s.Answer(200)
	for {
		header, err := ws.ReadHeader(s)
		if err != nil || header.Length > 125 {
			return
		}
		payload := make([]byte, header.Length)
		for n := 0; n < len(payload); {
			k, err := s.Read(payload[n:])
			if err != nil {
				return
			}
			n += k
		}
		ws.Cipher(payload, header.Mask, 0)
		switch header.OpCode {
		case ws.OpPing:
			_ = ws.WriteFrame(s, ws.NewPongFrame(payload))
		case ws.OpClose:
			_ = ws.WriteFrame(s, ws.NewCloseFrame(payload))
			return
		}
	}
}

func TestTheRequestOfAProbeOverHTTP2(t *testing.T) {
	requests := make(chan []h2test.Field, 2)
	backend, err := h2test.Listen(nil, h2test.Options{}, func(s *h2test.Stream) {
		requests <- s.Fields
		_ = s.Refuse(404, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Close)
	for kind, want := range map[string]string{
		HTTP:      ":method GET :scheme http :authority chat.example.com :path /deep?1 user-agent sluice-probe ",
		WebSocket: ":method CONNECT :protocol websocket :scheme http :authority chat.example.com :path /deep?1 user-agent sluice-probe sec-websocket-version 13 ",
	} {
		c := Config{Kind: kind, Path: "/deep?1", Host: "chat.example.com", Timeout: units.Duration(5 * time.Second)}
		_ = c.Do(t.Context(), streamBackend(backend.Addr()), nil)
		got := ""
		for _, f := range <-requests {
			got += f.Name + " " + f.Value + " "
		}
		if got != want {
			t.Errorf("%s asks with %q, want %q", kind, got, want)
		}
	}
}

func TestATrialOverHTTP2WantsAnyReaction(t *testing.T) {
	for name, test := range map[string]struct {
		handle func(*h2test.Stream)
		isUp   bool
	}{
		"an answer":  {func(s *h2test.Stream) { _ = s.Refuse(500, "") }, true},
		"a reset":    {func(s *h2test.Stream) { _ = s.Reset(http2.ErrCodeInternal) }, true},
		"an end":     {func(s *h2test.Stream) { _ = s.Conn().Close() }, true},
		"no answer":  {nil, false},
		"not HTTP/2": {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			if !test.isUp {
				test.handle = func(*h2test.Stream) { <-t.Context().Done() }
			}
			address := listen(t, "tcp", "127.0.0.1:0", answering("HTTP/1.1 400 Bad Request\r\n\r\n"))
			if test.handle != nil {
				backend, err := h2test.Listen(nil, h2test.Options{}, test.handle)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(backend.Close)
				address = backend.Addr()
			}
			timeout := 5 * time.Second
			if !test.isUp {
				timeout = 100 * time.Millisecond
			}
			if err := Responds(t.Context(), timeout, streamBackend(address), nil); (err == nil) != test.isUp {
				t.Errorf("a trial ends with %v", err)
			}
		})
	}
}
