package proxy

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sluice/internal/units"
)

// checkAddress reports what is wrong with an address to listen on.
func checkAddress(report units.Report, address string) {
	const want = `"host:port" or "unix:/path"`
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		if err := units.CheckUnixPath(path); err != nil {
			report("address", err.Error(), address, want)
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
