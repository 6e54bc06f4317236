package echo_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"

	"sluice/internal/echo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEchoReturnsFramesOfAnySizeAsTheyCame(t *testing.T) {
	sizes := []int{0, 1, 2, 125, 126, 127, 1000, 65535, 65536, 65537, 300_000, 3 << 20}
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		c := dial(t, addr, "/")
		for _, size := range sizes {
			payload := randomBytes(size)
			for _, f := range []ws.Frame{
				ws.NewBinaryFrame(payload),
				ws.NewFrame(ws.OpBinary, false, payload), ws.NewFrame(ws.OpContinuation, false, nil), ws.NewFrame(ws.OpContinuation, true, payload),
			} {
				c.write(masked(f))
				c.wantFrame(f)
			}
		}
	})
}

func TestEchoIsTheSameWholeByteByByteAndAtRandomSplits(t *testing.T) {
	text := []byte("gr\u00fc\u00df \u4e16\U0001f30d")
	in := []ws.Frame{
		ws.NewTextFrame(text),
		ws.NewFrame(ws.OpText, false, text[:3]), ws.NewPingFrame([]byte("between")), ws.NewFrame(ws.OpContinuation, true, text[3:]),
		ws.NewPongFrame([]byte("not asked for")),
		ws.NewBinaryFrame(randomBytes(200)),
		ws.NewPingFrame(nil),
		ws.NewBinaryFrame(nil),
		ws.NewCloseFrame(ws.NewCloseFrameBody(4321, "that was all")),
	}
	out := append([]ws.Frame{}, in...)
	out[2] = ws.NewPongFrame([]byte("between"))
	out[6] = ws.NewPongFrame(nil)
	out[8] = ws.NewCloseFrame(ws.NewCloseFrameBody(4321, ""))
	out = append(out[:4], out[5:]...)
	var input, want []byte
	for _, f := range in {
		input = append(input, masked(f)...)
	}
	for _, f := range out {
		want = append(want, ws.MustCompileFrame(f)...)
	}
	splits := map[string]func() int{
		"whole":        func() int { return len(input) },
		"byte by byte": func() int { return 1 },
		"random":       func() int { return 1 + rand.IntN(40) },
	}
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		for name, next := range splits {
			t.Run(name, func(t *testing.T) {
				c := dial(t, addr, "/")
				for rest := input; len(rest) > 0; {
					n := min(next(), len(rest))
					c.write(rest[:n])
					rest = rest[n:]
				}
				if got := c.readAll(); !bytes.Equal(got, want) {
					t.Errorf("got  %x\nwant %x", got, want)
				}
			})
		}
	})
}

func TestFramesInTheSegmentOfTheHeadAreEchoed(t *testing.T) {
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		c := connect(t, addr)
		f := ws.NewBinaryFrame([]byte("early"))
		c.write(append([]byte(request("/", "")), masked(f)...))
		c.wantStatus(101)
		c.wantFrame(f)
	})
}

func TestFaultsAreAnsweredWithTheirCode(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want ws.StatusCode
	}{
		{"not masked", []byte{0x82, 0x01, 'x'}, 1002},
		{"RSV1 without an extension", []byte{0xc2, 0x80, 0, 0, 0, 0}, 1002},
		{"RSV3", []byte{0x92, 0x80, 0, 0, 0, 0}, 1002},
		{"reserved opcode", []byte{0x83, 0x80, 0, 0, 0, 0}, 1002},
		{"reserved control opcode", []byte{0x8b, 0x80, 0, 0, 0, 0}, 1002},
		{"long ping", []byte{0x89, 0xfe, 0, 126, 0, 0, 0, 0}, 1002},
		{"fragmented ping", []byte{0x09, 0x80, 0, 0, 0, 0}, 1002},
		{"continuation of nothing", masked(ws.NewFrame(ws.OpContinuation, true, []byte("x"))), 1002},
		{"message inside a message", append(masked(ws.NewFrame(ws.OpText, false, nil)), masked(ws.NewTextFrame(nil))...), 1002},
		{"16-bit length under 126", []byte{0x82, 0xfe, 0, 125, 0, 0, 0, 0}, 1002},
		{"64-bit length under 65536", []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}, 1002},
		{"64-bit length with the top bit", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1002},
		{"close of one byte", masked(ws.NewCloseFrame([]byte{3})), 1002},
		{"close code 1005", masked(ws.NewCloseFrame([]byte{1005 >> 8, 1005 & 0xff})), 1002},
		{"close code 5000", masked(ws.NewCloseFrame([]byte{5000 >> 8, 5000 & 0xff})), 1002},
		{"close reason that is not UTF-8", masked(ws.NewCloseFrame([]byte{3, 0xe8, 0xff})), 1007},
		{"text that is not UTF-8", masked(ws.NewTextFrame([]byte("ab\xff"))), 1007},
		{"text that ends inside a character", masked(ws.NewTextFrame([]byte("ab\xe4\xb8"))), 1007},
		{"surrogate in a text", masked(ws.NewTextFrame([]byte("\xed\xa0\x80"))), 1007},
	}
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := dial(t, addr, "/")
				before := ws.NewBinaryFrame([]byte("before"))
				c.write(append(masked(before), tt.in...))
				want := append(ws.MustCompileFrame(before), ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(tt.want, "")))...)
				if tt.name == "message inside a message" {
					want = append(append(want[:len(want)-4:len(want)-4], 0x01, 0), want[len(want)-4:]...)
				}
				if got := c.readAll(); !bytes.Equal(got, want) {
					t.Errorf("%x is answered by %x; want %x", tt.in, got, want)
				}
			})
		}
	})
}

func TestTextFaultInAFrameHalfSentCutsTheConnection(t *testing.T) {
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		c := dial(t, addr, "/")
		f := masked(ws.NewTextFrame([]byte("good bad\xff!")))
		c.write(f[:len(f)-3])
		want := []byte("\x81\x0agood ba")
		c.want(want)
		c.write(f[len(f)-3:])
		if got := c.readAll(); len(got) != 0 {
			t.Errorf("got %q after half a frame; want the end", got)
		}
	})
}

func TestCloseIsAnsweredWithItsCodeAndThenTheEnd(t *testing.T) {
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		for _, code := range []ws.StatusCode{0, 1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999} {
			c := dial(t, addr, "/")
			body := ws.NewCloseFrameBody(code, "")
			if code == 0 {
				body = nil
			}
			c.write(append(masked(ws.NewCloseFrame(body)), masked(ws.NewPingFrame(nil))...))
			if got, want := c.readAll(), ws.MustCompileFrame(ws.NewCloseFrame(body)); !bytes.Equal(got, want) {
				t.Errorf("close %d is answered by %x; want %x", code, got, want)
			}
		}
	})
}

func TestReadingStopsWhileThePeerReadsNothing(t *testing.T) {
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		c := dial(t, addr, "/")
		f := ws.NewBinaryFrame(randomBytes(1 << 20))
		frame := masked(f)
		sent := 0
		for {
			_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			n, err := c.Write(frame[sent%len(frame):])
			sent += n
			if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if sent > 256<<20 {
				t.Fatal("256 MiB were taken of a peer that reads nothing")
			}
		}
		_ = c.SetWriteDeadline(time.Time{})
		go func() { _, _ = c.Write(frame[sent%len(frame):]) }()
		for range (sent + len(frame) - 1) / len(frame) {
			c.wantFrame(f)
		}
	})
}

func TestGreetingIsTheFirstMessage(t *testing.T) {
	eachEngine(t, echo.Options{Greeting: "backend one"}, func(t *testing.T, addr string) {
		c := dial(t, addr, "/any/path?and=query")
		c.wantFrame(ws.NewTextFrame([]byte("backend one")))
	})
}

func TestHandshakeChoosesTheFirstSubprotocolOrNone(t *testing.T) {
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		for _, tt := range []struct {
			offer []string
			want  string
		}{{nil, ""}, {[]string{"mqtt"}, "mqtt"}, {[]string{"chat.v2", "chat.v1"}, "chat.v2"}} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			d := ws.Dialer{Protocols: tt.offer}
			c, _, hs, err := d.Dial(ctx, "ws://"+addr+"/")
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if hs.Protocol != tt.want || len(hs.Extensions) != 0 {
				t.Errorf("offer %q: got %q, extensions %v; want %q", tt.offer, hs.Protocol, hs.Extensions, tt.want)
			}
			if err := wsutil.WriteClientText(c, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if p, err := wsutil.ReadServerText(c); string(p) != "hello" || err != nil {
				t.Errorf("echo = %q, %v", p, err)
			}
			_ = c.Close()
		}
	})
}

func TestOtherRequestsAreAnsweredAndEnded(t *testing.T) {
	good := request("/", "")
	tests := []struct {
		name, in string
		want     int
	}{
		{"plain GET", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"plain HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 200},
		{"POST", strings.Replace(good, "GET", "POST", 1), 405},
		{"HTTP/1.0 upgrade", strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1), 400},
		{"no Host", strings.Replace(good, "Host: test\r\n", "", 1), 400},
		{"no Connection", strings.Replace(good, "Connection: Upgrade\r\n", "", 1), 400},
		{"version 12", strings.Replace(good, "Version: 13", "Version: 12", 1), 426},
		{"short key", strings.Replace(good, "dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 1), 400},
		{"two keys", request("/", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400},
		{"body", request("/", "Content-Length: 1\r\n"), 400},
		{"garbage", "\x16\x03\x01\r\n\r\n", 400},
		{"head over 16 KiB", request("/", "X: "+strings.Repeat("x", 16<<10)+"\r\n"), 431},
		{"push of a negative size", request("/push?size=-1", ""), 400},
		{"push of more than a GiB", request("/push?size=1073741825", ""), 400},
		{"push of no number", request("/push?size=1&count=many", ""), 400},
	}
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := connect(t, addr)
				c.write([]byte(tt.in))
				body := c.wantStatus(tt.want)
				if strings.Count(body, "\n") != 1 || !strings.HasSuffix(body, "\n") {
					t.Errorf("body = %q; want one line", body)
				}
				if rest := c.readAll(); len(rest) != 0 {
					t.Errorf("%q came after the answer", rest)
				}
			})
		}
	})
}

func TestHandshakeAcceptsListsInAnyCase(t *testing.T) {
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		c := connect(t, addr)
		c.write([]byte(strings.Replace(request("/", "Connection: x,\tUPGRADE\r\n"), "Connection: Upgrade", "connection: keep-alive", 1)))
		c.wantStatus(101)
	})
}

func TestEndOfContextClosesWith1001(t *testing.T) {
	for name, wrap := range engines {
		t.Run(name, func(t *testing.T) {
			s := start(t, wrap, echo.Options{})
			idle, half, pushed := dial(t, s.addr, "/"), dial(t, s.addr, "/"), dial(t, s.addr, "/push?size=100")
			half.write(masked(ws.NewBinaryFrame([]byte("half")))[:8])
			half.want([]byte{0x82, 4})
			s.stop()
			if got := idle.readAll(); !bytes.Equal(got, []byte{0x88, 2, 1001 >> 8, 1001 & 0xff}) {
				t.Errorf("an idle connection got %x; want a close frame with 1001", got)
			}
			if rest := half.readToEnd(); bytes.Contains(rest, []byte{0x88}) {
				t.Errorf("%x was sent inside a frame", rest)
			}
			pushed.readToEnd()
		})
	}
}
