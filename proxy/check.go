package proxy

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sluice/internal/units"
	"sluice/proxy/relay"
)

// checkAddress reports what is wrong with an address to listen on.
func checkAddress(report units.Report, address string) {
	const want = `"host:port" or "unix:/path"`
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		if path == "" {
			report("address", "no path", address, want)
		} else if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
			report("address", "not in a directory that is there", address, want)
		}
		return
	}
	if address == "" {
		report("address", "missing", nil, want)
		return
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		report("address", "not an address", address, want)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		report("address", "not a port", address, want)
	}
}

// isHostPattern tells whether s is a host, a wildcard host, or empty.
func isHostPattern(s string) bool {
	if s == "" {
		return true
	}
	s = strings.TrimPrefix(s, "*.")
	if ip := net.ParseIP(strings.Trim(s, "[]")); ip != nil {
		return true
	}
	if len(s) > 253 || strings.HasSuffix(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isCloseCode(code int) bool { return relay.IsCloseCode(code) }

func indexed(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }
