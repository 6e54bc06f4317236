package upgrade

import (
	"strings"
	"testing"
)

func TestBytesAfterTheHeadAreKeptUpTo16KiB(t *testing.T) {
	var pool Pool
	h := pool.Get()
	frames := "\x81\x85frames"
	b := &h.FromClient
	b.Grow(copy(b.Free(), chromium+frames))
	n, err := h.Request.Parse(b.Bytes())
	if n != len(chromium) || err != nil {
		t.Fatalf("Parse = %d, %v; want %d, nil", n, err, len(chromium))
	}
	if got := string(b.Bytes()[n:]); got != frames {
		t.Errorf("after the head: %q; want %q", got, frames)
	}
	b.Grow(copy(b.Free(), strings.Repeat("x", 2*MaxHeadBytes)))
	if len(b.Bytes()) != MaxHeadBytes || len(b.Free()) != 0 {
		t.Errorf("the buffer holds %d bytes and has space for %d; want %d, 0", len(b.Bytes()), len(b.Free()), MaxHeadBytes)
	}
	b.Discard(n)
	if got := string(b.Bytes()[:len(frames)]); got != frames || len(b.Free()) != n {
		t.Errorf("after the head went: %q, space for %d; want %q, %d", got, len(b.Free()), frames, n)
	}
	h.Out = h.Request.AppendForward(h.Out, &Forward{})
	pool.Put(h)

	h = pool.Get()
	if len(h.FromClient.Bytes()) != 0 || len(h.Out) != 0 {
		t.Errorf("a Handshake from the pool holds %d bytes and %d slices", len(h.FromClient.Bytes()), len(h.Out))
	}
	h.FromClient.Grow(copy(h.FromClient.Free(), chromium))
	if n, err := h.Request.Parse(h.FromClient.Bytes()); n != len(chromium) || err != nil {
		t.Errorf("Parse with a Handshake from the pool = %d, %v; want %d, nil", n, err, len(chromium))
	}
}
