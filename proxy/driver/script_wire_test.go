package driver

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"sluice/proxy/relay"
)

// anyKey stands in a drawing for a masking key of the gateway's choice.
const anyKey = "key"

// space stands between two drawings.
const space = " "

// drawn turns a drawing of frames into bytes. Its fields, with any space between them:
//
//	1 010 0001    bits, a byte's worth together at last
//	0x37fa213d    bytes
//	'Hello'       text
//	*300          300 zero bytes
//	key           a masking key that isn't known, for wants: what follows, to the end, is masked with it
//
// In drawn itself, key is four zero bytes.
func drawn(t testing.TB, drawing string) []byte {
	t.Helper()
	return draw(t, drawing, [4]byte{})
}

func draw(t testing.TB, drawing string, key [4]byte) (p []byte) {
	t.Helper()
	bits, n, masked := 0, 0, -1
	for f := range strings.FieldsSeq(drawing) {
		var err error
		switch {
		case f == anyKey:
			p = append(p, key[:]...)
			masked = len(p)
		case strings.HasPrefix(f, "0x"):
			var b []byte
			b, err = hex.DecodeString(f[2:])
			p = append(p, b...)
		case f[0] == '\'':
			p = append(p, strings.ReplaceAll(strings.Trim(f, "'"), "_", " ")...)
		case f[0] == '*':
			var zeros int
			_, err = fmt.Sscan(f[1:], &zeros)
			p = append(p, make([]byte, zeros)...)
		default:
			for _, c := range f {
				if c != '0' && c != '1' {
					t.Fatalf("drawing %q: what is %q?", drawing, f)
				}
				bits, n = bits<<1|int(c-'0'), n+1
				if n == 8 {
					p = append(p, byte(bits))
					bits, n = 0, 0
				}
			}
		}
		if err != nil {
			t.Fatalf("drawing %q: %q: %v", drawing, f, err)
		}
	}
	if n != 0 {
		t.Fatalf("drawing %q: %d bits are left", drawing, n)
	}
	if masked >= 0 {
		ws.Cipher(p[masked:], key, 0)
	}
	return p
}

// Frames that many tests use.
//
//	F RSV op    M length   key        payload
const (
	clientHello  = "1 000 0001  1 0000101  0x37fa213d 0x7f9f4d5158" // RFC 6455 section 5.7
	clientBegin  = "0 000 0001  1 0000101  0x37fa213d 0x7f9f4d5158"
	clientMiddle = "0 000 0000  1 0000011  0x00000000 'mid'"
	clientLast   = "1 000 0000  1 0000011  0x00000000 'end'"
	clientHalf   = "1 000 0010  1 0001010  0x01020304 'half'" // 4 bytes of 10
	clientRest   = "'threst'"
	clientPing   = "1 000 1001  1 0000101  0x37fa213d 0x7f9f4d5158"
	clientPong   = "1 000 1010  1 0000101  0x37fa213d 0x7f9f4d5158"
	clientClose  = "1 000 1000  1 0000010  0x00000000 0x03e8" // 1000
	clientBye    = "1 000 1000  1 0000101  0x00000000 0x0fa1 'bye'"

	backendHello  = "1 000 0001  0 0000101             'Hello'"
	backendBegin  = "0 000 0001  0 0000101             'Hello'"
	backendMiddle = "0 000 0000  0 0000011             'mid'"
	backendLast   = "1 000 0000  0 0000011             'end'"
	backendHalf   = "1 000 0010  0 0001010             'half'"
	backendRest   = "'threst'"
	backendPing   = "1 000 1001  0 0000101             'Hello'"
	backendPong   = "1 000 1010  0 0000101             'Hello'"
	backendClose  = "1 000 1000  0 0000010             0x03e8" // 1000
	backendBye    = "1 000 1000  0 0000101             0x0fa1 'bye'"

	// What the gateway says itself.
	pongToClient  = "1 000 1010  0 0000101             'Hello'"
	pongToBackend = "1 000 1010  1 0000101  key        'Hello'"
	pingToClient  = "1 000 1001  0 0001000" // and 8 bytes
	pingToBackend = "1 000 1001  1 0001000" // and 4 + 8 bytes
	lostToClient  = "1 000 1000  0 0001110             0x03f3 'backend_lost'"
	lostToBackend = "1 000 1000  1 0001101  key        0x03e9 'client_lost'"
)

// ourClose draws a close of the gateway's own.
func ourClose(to relay.Side, code int, reason string) string {
	length := 2 + len(reason)
	text := ""
	if reason != "" {
		text = "'" + strings.ReplaceAll(reason, " ", "_") + "'"
	}
	if to == relay.Client {
		return fmt.Sprintf("1 000 1000  0 %07b  0x%04x %s", length, code, text)
	}
	return fmt.Sprintf("1 000 1000  1 %07b  key  0x%04x %s", length, code, text)
}

// Frames by the side that sends them.
var (
	hello     = [2]string{clientHello, backendHello}
	beginning = [2]string{clientBegin, backendBegin}
	last      = [2]string{clientLast, backendLast}
	half      = [2]string{clientHalf, backendHalf}
	rest      = [2]string{clientRest, backendRest}
	ping      = [2]string{clientPing, backendPing}
	pong      = [2]string{clientPong, backendPong}
	closing   = [2]string{clientClose, backendClose}
	bye       = [2]string{clientBye, backendBye}
)

// lost is the close that tells a side of the other's loss.
var lost = [2]string{lostToClient, lostToBackend}
