package units

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
)

func TestDurationRoundTripsAsText(t *testing.T) {
	tests := []struct {
		in      string
		want    time.Duration
		written string
	}{
		{"5s", 5 * time.Second, "5s"},
		{"0s", 0, "0s"},
		{"0", 0, "0s"},
		{"5m", 5 * time.Minute, "5m"},
		{"1h", time.Hour, "1h"},
		{"1h0m5s", time.Hour + 5*time.Second, "1h0m5s"},
		{"1m30s", 90 * time.Second, "1m30s"},
		{"10m", 10 * time.Minute, "10m"},
		{"250ms", 250 * time.Millisecond, "250ms"},
		{"8760h", MaxDuration.Std(), "8760h"},
	}
	for _, test := range tests {
		var d Duration
		if err := d.UnmarshalText([]byte(test.in)); err != nil || d.Std() != test.want {
			t.Errorf("UnmarshalText(%q) = %v, %v; want %v", test.in, d.Std(), err, test.want)
		}
		if got := d.String(); got != test.written {
			t.Errorf("Duration(%v).String() = %q, want %q", test.want, got, test.written)
		}
		var again Duration
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%q read back = %v, %v; want %v", d.String(), again, err, d)
		}
	}
}

func TestDurationRefusesOtherText(t *testing.T) {
	for _, in := range []string{"", "5", "fast", "-1s", "5 s", "1d"} {
		d := Duration(7)
		if err := d.UnmarshalText([]byte(in)); err == nil || d != 7 {
			t.Errorf("UnmarshalText(%q) = %v, %v; want an error and the value left as it was", in, d, err)
		}
	}
}

func TestDurationIsAYearAtMost(t *testing.T) {
	for _, in := range []string{"8760h0m0.000000001s", "2562047h47m16.854775807s"} {
		d := Duration(7)
		if err := d.UnmarshalText([]byte(in)); !errors.Is(err, ErrTooLong) || d != 7 {
			t.Errorf("UnmarshalText(%q) = %v, %v; want ErrTooLong and the value left as it was", in, d, err)
		}
	}
}

func TestAPathOfAUnixSocketHasRoomForANUL(t *testing.T) {
	for _, path := range []string{"/run/a.sock", "@abstract", strings.Repeat("a", MaxUnixPath)} {
		if err := CheckUnixPath(path); err != nil {
			t.Errorf("CheckUnixPath(%q): %v", path, err)
		}
	}
	for _, path := range []string{"", "/run/a\x00b.sock", strings.Repeat("a", MaxUnixPath+1)} {
		if CheckUnixPath(path) == nil {
			t.Errorf("CheckUnixPath(%q) = nil, want an error", path)
		}
	}
}

func TestTextInQuotesOfTOMLIsTheSameAndShowsATerminalNothingToObey(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", `""`},
		{`a "b" \c`, `"a \"b\" \\c"`},
		{"a\nb\tc", `"a\nb\tc"`},
		{"\x00\x1b[2J\x7f", `"\u0000\u001B[2J\u007F"`},
		{"\u009b31m \u202eevil\u2066", `"\u009B31m \u202Eevil\u2066"`},
		{"ü 漢", `"ü 漢"`},
		{"a\xffb", "\"a\ufffdb\""},
	} {
		got := QuoteTOML(test.text)
		if got != test.want {
			t.Errorf("QuoteTOML(%q) = %s, want %s", test.text, got, test.want)
		}
		var read struct{ Text string }
		if err := toml.Unmarshal([]byte("Text = "+got), &read); err != nil || read.Text != strings.ToValidUTF8(test.text, "\ufffd") {
			t.Errorf("%s is read as %q, %v", got, read.Text, err)
		}
	}
}

func TestBytesRoundTripsAsText(t *testing.T) {
	tests := []struct {
		in      string
		want    Bytes
		written string
	}{
		{"0", 0, "0"},
		{"512", 512, "512"},
		{"512B", 512, "512"},
		{"64KiB", 64 << 10, "64KiB"},
		{"16 MiB", 16 << 20, "16MiB"},
		{"1024KiB", 1 << 20, "1MiB"},
		{"3GiB", 3 << 30, "3GiB"},
		{"2TiB", 2 << 40, "2TiB"},
		{"1KB", 1000, "1000"},
		{"1kB", 1000, "1000"},
		{"5MB", 5_000_000, "5000000"},
		{"9223372036854775807", math.MaxInt64, "9223372036854775807"},
	}
	for _, test := range tests {
		var b Bytes
		if err := b.UnmarshalText([]byte(test.in)); err != nil || b != test.want {
			t.Errorf("UnmarshalText(%q) = %d, %v; want %d", test.in, b, err, test.want)
		}
		if got := b.String(); got != test.written {
			t.Errorf("Bytes(%d).String() = %q, want %q", int64(test.want), got, test.written)
		}
	}
}

func TestBytesRefusesOtherText(t *testing.T) {
	for _, in := range []string{
		"", "KiB", " 5", "5  KiB", "-1", "+1", "1.5MiB", "5 kib", "5Mb", "9223372036854775808", "8388608TiB", "five",
	} {
		b := Bytes(7)
		if err := b.UnmarshalText([]byte(in)); err == nil || b != 7 {
			t.Errorf("UnmarshalText(%q) = %d, %v; want an error and the value left as it was", in, b, err)
		}
	}
}
