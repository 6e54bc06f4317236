package gateway

import (
	"fmt"
	"unicode/utf8"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"

	"sluice/internal/units"
)

// A safeEncoder escapes what a terminal would obey and zap writes as it is: a client chooses paths and hosts. Either format has all texts of
// clients in strings of JSON, where an escape means the same.
type safeEncoder struct{ zapcore.Encoder }

// Clone implements zapcore.Encoder.
func (e safeEncoder) Clone() zapcore.Encoder { return safeEncoder{e.Encoder.Clone()} }

// EncodeEntry implements zapcore.Encoder.
func (e safeEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil {
		return nil, err
	}
	if text := line.Bytes(); unsafeIndex(text) >= 0 {
		escaped := escape(text)
		line.Reset()
		_, _ = line.Write(escaped)
	}
	return line, nil
}

// unsafeIndex returns where the first character beyond ASCII is that a terminal may obey, or -1. zap escapes those of ASCII.
func unsafeIndex(text []byte) int {
	for i := 0; i < len(text); {
		if text[i] < utf8.RuneSelf {
			i++
			continue
		}
		c, n := utf8.DecodeRune(text[i:])
		if units.IsUnsafe(c) {
			return i
		}
		i += n
	}
	return -1
}

func escape(text []byte) (escaped []byte) {
	for i := unsafeIndex(text); i >= 0; i = unsafeIndex(text) {
		c, n := utf8.DecodeRune(text[i:])
		escaped = fmt.Appendf(append(escaped, text[:i]...), "\\u%04x", c)
		text = text[i+n:]
	}
	return append(escaped, text...)
}
