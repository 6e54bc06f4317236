package echo_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/internal/echo"
)

func TestPushSendsCountMessagesOfSizeAndACloseAfterThem(t *testing.T) {
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		for _, tt := range []struct{ size, count int }{{0, 3}, {64, 10_000}, {1000, 1}, {65536, 40}, {262_142, 3}, {262_143, 3}, {1 << 20, 5}} {
			c := dial(t, addr, fmt.Sprintf("/push?size=%d&count=%d", tt.size, tt.count))
			for range tt.count {
				c.wantFrame(ws.NewBinaryFrame(make([]byte, tt.size)))
			}
			c.wantFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))
			c.write(masked(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, ""))))
			if rest := c.readAll(); len(rest) != 0 {
				t.Errorf("size %d: %x came after the close", tt.size, rest)
			}
		}
	})
}

func TestPushAnswersControlFramesBetweenItsOwnAndDropsData(t *testing.T) {
	eachEngine(t, echo.Options{}, func(t *testing.T, addr string) {
		for _, size := range []int{10, 1 << 20} {
			c := dial(t, addr, fmt.Sprintf("/push?size=%d", size))
			c.write(masked(ws.NewTextFrame([]byte("dropped"))))
			c.write(masked(ws.NewPingFrame([]byte("still there?"))))
			c.wantPushedUntil(size, ws.NewPongFrame([]byte("still there?")))
			c.write(masked(ws.NewCloseFrame(ws.NewCloseFrameBody(1001, ""))))
			c.wantPushedUntil(size, ws.NewCloseFrame(ws.NewCloseFrameBody(1001, "")))
			if rest := c.readAll(); len(rest) != 0 {
				t.Errorf("size %d: %.80x came after the close", size, rest)
			}
		}
	})
}

// wantPushedUntil reads pushed frames, each of them whole, until a frame of another kind comes, which must be want.
func (c *client) wantPushedUntil(size int, want ws.Frame) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for {
		h, err := ws.ReadHeader(c)
		if err != nil {
			c.t.Fatal(err)
		}
		if h.OpCode != ws.OpBinary || h.Length != int64(size) || !h.Fin {
			if h != want.Header {
				c.t.Fatalf("got %+v among frames of %d bytes; want %+v", h, size, want.Header)
			}
			c.want(want.Payload)
			return
		}
		if _, err := io.CopyN(io.Discard, c, h.Length); err != nil {
			c.t.Fatal(err)
		}
	}
}
