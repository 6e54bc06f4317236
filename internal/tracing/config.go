package tracing

import (
	"net/url"

	"sluice/internal/units"
)

// Config is the [tracing] section.
type Config struct {
	// Endpoint is the collector's URL for OTLP over HTTP, such as "http://127.0.0.1:4318/v1/traces"; empty: no traces.
	Endpoint string `toml:"endpoint"`
	// Sample is the share of handshakes that are traced. The trace of a client that asks for no record isn't recorded, and a trusted proxy's
	// decision holds either way.
	Sample float64 `toml:"sample" default:"1.0"`
	// Service is the name that traces give this gateway.
	Service string `toml:"service" default:"sluice"`
}

// Check reports every problem of the section.
func (c *Config) Check(report units.Report) {
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			report("endpoint", "not an HTTP URL", c.Endpoint, `such as "http://127.0.0.1:4318/v1/traces", or "" for no traces`)
		} else if u.User != nil {
			report("endpoint", "has a password", nil, "a URL without a user")
		}
	}
	if !(c.Sample >= 0 && c.Sample <= 1) { // not a number is out of range too
		report("sample", "out of range", c.Sample, "a share from 0 to 1")
	}
	if c.Service == "" {
		report("service", "missing", c.Service, "a name")
	}
}
