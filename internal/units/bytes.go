package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a number of bytes that is written as text: "64KiB", "16MiB", "512".
type Bytes int64

// byteUnits is ordered so that String finds the largest binary unit first.
var byteUnits = [...]struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"TB", 1e12},
	{"GB", 1e9},
	{"MB", 1e6},
	{"KB", 1e3},
	{"kB", 1e3},
	{"B", 1},
}

// String returns b in the largest binary unit that divides it: "64KiB", "1000".
func (b Bytes) String() string {
	for _, unit := range byteUnits[:4] {
		if b != 0 && int64(b)%unit.bytes == 0 {
			return strconv.FormatInt(int64(b)/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText returns the text of String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText parses a whole number with an optional unit: KiB, MiB, GiB and TiB are powers of
// 1024, KB, MB, GB and TB powers of 1000, and no unit or B is bytes. A space may stand between the
// two. It refuses a negative number, since no key of the configuration has a meaning for one. After an
// error b is unchanged.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, multiple := string(text), int64(1)
	for _, unit := range byteUnits {
		if rest, found := strings.CutSuffix(number, unit.name); found {
			number, multiple = strings.TrimSuffix(rest, " "), unit.bytes
			break
		}
	}
	// ParseUint refuses signs.
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return fmt.Errorf("%q is not a number of bytes such as \"64KiB\", \"16MiB\" or 512", text)
	}
	if int64(n) > math.MaxInt64/multiple {
		return fmt.Errorf("%q is more bytes than can be counted", text)
	}
	*b = Bytes(int64(n) * multiple)
	return nil
}
