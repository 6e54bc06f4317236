package units

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Duration is a time.Duration that is written as text: "5s", "1m30s", "0s".
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MaxDuration is the longest Duration that is read from text. Sums and multiples of durations stay far below the 292 years that can be
// counted.
const MaxDuration = Duration(365 * 24 * time.Hour)

// ErrTooLong is the error of a text that is a Duration over MaxDuration.
var ErrTooLong = errors.New("over a year (" + MaxDuration.String() + ")")

// String returns the shortest text that UnmarshalText parses as d: "5m", not "5m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns the text of String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses text as time.ParseDuration does. It refuses a negative duration, since no key of
// the configuration has a meaning for one, and one over MaxDuration (ErrTooLong). After an error d is unchanged.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as \"5s\" or \"1m30s\"", text)
	}
	if parsed < 0 {
		return fmt.Errorf("%q is a negative duration", text)
	}
	if Duration(parsed) > MaxDuration {
		return fmt.Errorf("%q is %w", text, ErrTooLong)
	}
	*d = Duration(parsed)
	return nil
}
