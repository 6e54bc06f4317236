//go:build unix

package test

import (
	"fmt"
	"io"

	"github.com/gobwas/ws"
)

// readFrame reads a frame of at most maxFrame bytes of payload, as it came.
func readFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err != nil {
		return f, err
	}
	if f.Header.Length > maxFrame {
		return f, fmt.Errorf("frame of %d bytes", f.Header.Length)
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

// maxFrame is more than any peer here sends in one.
const maxFrame = 64 << 20
