package units

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unicode"
)

// MaxUnixPath is the most octets of the path of a Unix socket: the kernel wants a NUL after it.
const MaxUnixPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// CheckUnixPath returns what keeps a path from being that of a Unix socket.
func CheckUnixPath(path string) error {
	switch {
	case path == "":
		return errors.New("no path")
	case len(path) > MaxUnixPath:
		return errors.New("a path of over " + strconv.Itoa(MaxUnixPath) + " octets")
	case strings.Contains(path, "\x00"):
		return errors.New("a path with a NUL octet")
	}
	return nil
}

// IsSpaceOrControl reports whether c is white space or a control character, which no value has that becomes part of a head.
func IsSpaceOrControl(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }

// IsUnsafe reports whether a terminal may obey c instead of showing it: control characters, those of C1 among them, and the marks that
// change the direction of text or end a line.
func IsUnsafe(c rune) bool {
	switch {
	case c < 0x80:
		return c < ' ' || c == 0x7f
	case c < 0xa0, c == 0x061c, c == 0x200e, c == 0x200f:
		return true
	case 0x2028 <= c && c <= 0x202e, 0x2066 <= c && c <= 0x2069:
		return true
	default:
		return false
	}
}

// QuoteTOML returns text as a basic string of TOML, in quotes. What IsUnsafe reports is escaped. Octets that are not UTF-8, which TOML can't
// have, become U+FFFD.
func QuoteTOML(text string) string {
	var quoted strings.Builder
	quoted.WriteByte('"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			quoted.WriteByte('\\')
			quoted.WriteRune(c)
		case c == '\n':
			quoted.WriteString(`\n`)
		case c == '\t':
			quoted.WriteString(`\t`)
		case IsUnsafe(c):
			fmt.Fprintf(&quoted, `\u%04X`, c)
		default:
			quoted.WriteRune(c)
		}
	}
	quoted.WriteByte('"')
	return quoted.String()
}
