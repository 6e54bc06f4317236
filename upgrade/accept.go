package upgrade

import (
	"crypto/sha1"
	"encoding/base64"
)

const acceptLength = 28 // base64 of a SHA-1

// acceptOf returns the Sec-WebSocket-Accept for a checked key, RFC 6455 section
// 4.2.2 item 5.4. All of it stays on the stack.
func acceptOf(key []byte) (accept [acceptLength]byte) {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var input [24 + len(guid)]byte
	copy(input[copy(input[:], key):], guid)
	sum := sha1.Sum(input[:])
	base64.StdEncoding.Encode(accept[:], sum[:])
	return accept
}
