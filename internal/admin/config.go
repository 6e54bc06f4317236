package admin

import (
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"sluice/internal/files"
	"sluice/internal/units"
)

// Config is the [admin] section.
type Config struct {
	// Address is "host:port"; empty: there is no admin listener.
	Address string `toml:"address" default:"127.0.0.1:9901"`
	// TokenFile is a file whose content, less white space around it, is the bearer token that
	// requests must carry; empty: none, which only loopback may have.
	TokenFile string `toml:"token_file"`
	// ReadyNeeds is what GET /readyz asks beyond that the gateway takes new sessions: "pools", an available backend in every pool; or "",
	// nothing.
	ReadyNeeds string `toml:"ready_needs"`
	// Pprof adds /debug/pprof/.
	Pprof bool `toml:"pprof" default:"false"`
}

// readyNeedsPools is a value of ReadyNeeds.
const readyNeedsPools = "pools"

// Check reports every problem of the section.
func (c *Config) Check(report units.Report) {
	if c.TokenFile != "" {
		if _, err := ReadToken(c.TokenFile); err != nil {
			report("token_file", err.Error(), c.TokenFile, "a readable file with a token of at least "+strconv.Itoa(leastTokenBytes)+" bytes")
		}
	}
	if c.ReadyNeeds != "" && c.ReadyNeeds != readyNeedsPools {
		report("ready_needs", "unknown", c.ReadyNeeds, `"pools" or ""`)
	}
	if c.Address == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || !isPort(port) {
		report("address", "not an address", c.Address, `"127.0.0.1:9901", or "" for no admin listener`)
		return
	}
	if c.TokenFile == "" && !isLoopback(host) {
		report("token_file", "missing: the address "+c.Address+" is beyond loopback", nil, "a file with the token that requests must carry")
	}
}

// Warn reports what the section may have and its operator may not want.
func (c *Config) Warn(report units.Report) {
	if c.TokenFile == "" {
		return
	}
	if problem := files.Exposure(c.TokenFile); problem != "" {
		report("token_file", problem, c.TokenFile, "0640 or less")
	}
}

// isPort reports whether s is a port's number; 0 leaves the choice to the kernel.
func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// isLoopback reports whether a host can only be reached from this machine.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// leastTokenBytes is the length of the shortest token: 16 characters of base64 are 96 random bits.
const leastTokenBytes = 16

// mostTokenBytes bounds what is read as a token.
const mostTokenBytes = 4096

// ReadToken returns the token in a file.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", errTokenUnreadable
	case !info.Mode().IsRegular() || info.Size() > mostTokenBytes:
		return "", errTokenNoFile
	}
	text, err := files.Read(path, mostTokenBytes)
	if err != nil {
		return "", errTokenUnreadable
	}
	token := strings.TrimSpace(string(text))
	switch {
	case len(token) < leastTokenBytes:
		return "", errTokenShort
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errTokenCharacters
	}
	return token, nil
}
