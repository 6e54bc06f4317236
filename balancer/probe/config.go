package probe

import (
	"strings"

	"sluice/internal/units"
)

// The kinds of a probe, as the configuration names them.
const (
	TCP       = "tcp"
	HTTP      = "http"
	WebSocket = "websocket"
)

// A Config is [pool.health]: the active health check of a pool's backends.
type Config struct {
	// Kind is tcp, http, websocket, or empty: no probe.
	Kind string `toml:"kind"`
	// Path and Host are those of the probe's request. An empty Host means the backend's address.
	Path string `toml:"path" default:"/"`
	Host string `toml:"host"`
	// Status lists the healthy answers to an http probe. Empty means 200 to 299.
	Status []int `toml:"status"`
	// Interval is the time between two probes of a backend, Jitter the most that is added to it.
	Interval units.Duration `toml:"interval" default:"5s"`
	Jitter   units.Duration `toml:"jitter" default:"500ms"`
	Timeout  units.Duration `toml:"timeout" default:"2s"`
	// Rise is how many consecutive probes must succeed before a backend that is down is up, Fall how
	// many must fail before one that is up is down.
	Rise int `toml:"rise" default:"2"`
	Fall int `toml:"fall" default:"3"`
}

// Check reports every problem of the section.
func (c *Config) Check(report units.Report) {
	switch c.Kind {
	case "":
		return
	case TCP, HTTP, WebSocket:
	default:
		report("kind", "unknown", c.Kind, "tcp, http, websocket or \"\"")
		return
	}
	if c.Kind != TCP && (!strings.HasPrefix(c.Path, "/") || strings.ContainsFunc(c.Path, units.IsSpaceOrControl)) {
		report("path", "not a path", c.Path, "a path that starts with \"/\"")
	}
	if strings.ContainsAny(c.Host, "/") || strings.ContainsFunc(c.Host, units.IsSpaceOrControl) {
		report("host", "not a host", c.Host, "such as \"example.com\"")
	}
	for i, status := range c.Status {
		if status < 200 || status > 599 {
			report(units.Indexed("status", i), "out of range", status, "a status from 200 to 599")
		}
	}
	report.CheckPositive("interval", c.Interval)
	report.CheckPositive("timeout", c.Timeout)
	if c.Timeout > c.Interval {
		report("interval", "under health.timeout", c.Interval, "at least "+c.Timeout.String())
	}
	if c.Rise < 1 {
		report("rise", "out of range", c.Rise, "1 or more")
	}
	if c.Fall < 1 {
		report("fall", "out of range", c.Fall, "1 or more")
	}
}
