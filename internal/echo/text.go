package echo

import "unicode/utf8"

// text checks a text message that arrives in pieces. The zero value is the start of a message.
type text struct {
	part  [utf8.UTFMax]byte // the start of a character whose rest has not arrived
	count uint8             // how many bytes of it
}

// write takes the next piece and reports whether the message can still be UTF-8.
func (t *text) write(p []byte) bool {
	for t.count > 0 && len(p) > 0 {
		t.part[t.count] = p[0]
		t.count++
		p = p[1:]
		// FullRune is also true for bytes that can't become a character.
		if utf8.FullRune(t.part[:t.count]) {
			if r, size := utf8.DecodeRune(t.part[:t.count]); r == utf8.RuneError && size == 1 {
				return false
			}
			t.count = 0
		}
	}
	whole := len(p)
	for i := len(p) - 1; i >= 0 && i >= len(p)-3; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				whole = i
			}
			break
		}
	}
	t.count += uint8(copy(t.part[t.count:], p[whole:]))
	return utf8.Valid(p[:whole])
}

// isWhole reports whether the message may end here.
func (t *text) isWhole() bool { return t.count == 0 }
