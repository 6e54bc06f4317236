package config

import (
	"errors"
	"os"
	"path/filepath"

	"sluice/internal/units"
	"sluice/proxy"
)

// Log is the [log] section.
type Log struct {
	// Level is the least severe level that is written: debug, info, warn or error.
	Level string `toml:"level" default:"info"`
	// Format is json or console.
	Format string `toml:"format" default:"json"`
	// Output is stderr, stdout, or the path of a file, which SIGUSR1 opens anew.
	Output string `toml:"output" default:"stderr"`
	// Access says when a session writes a line.
	Access Access `toml:"access" default:"end"`
	// AccessSample is the share of sessions that write any.
	AccessSample float64 `toml:"access_sample" default:"1.0"`
	// AccessQuery adds the request's query to them, with the values of MaskQuery masked.
	AccessQuery bool `toml:"access_query" default:"false"`
	// MaskQuery names parameters whose values are never written; absent: proxy.UsualMask.
	MaskQuery []string `toml:"mask_query"`
}

// Access says when a session writes a line of the access log. As TOML it is "end", "start", "both", true for "end", or false.
type Access struct{ AtStart, AtEnd bool }

// UnmarshalText reads an Access.
func (a *Access) UnmarshalText(text []byte) error {
	switch string(text) {
	case "end", "true":
		*a = Access{AtEnd: true}
	case "start":
		*a = Access{AtStart: true}
	case "both":
		*a = Access{AtStart: true, AtEnd: true}
	case "false":
		*a = Access{}
	default:
		return errors.New("not when a line is written")
	}
	return nil
}

// MarshalText returns the text of which UnmarshalText makes a.
func (a Access) MarshalText() ([]byte, error) {
	switch {
	case a.AtStart && a.AtEnd:
		return []byte("both"), nil
	case a.AtStart:
		return []byte("start"), nil
	case a.AtEnd:
		return []byte("end"), nil
	default:
		return []byte("false"), nil
	}
}

// Lines returns the lines that the access log has; only for a section that wants any (Access).
func (l *Log) Lines() proxy.AccessLines {
	lines := proxy.AccessLines{When: proxy.AtEnd, Sample: l.AccessSample, Query: l.AccessQuery, Mask: l.MaskQuery}
	switch {
	case l.Access.AtStart && l.Access.AtEnd:
		lines.When = proxy.AtBoth
	case l.Access.AtStart:
		lines.When = proxy.AtStart
	}
	return lines
}

// Check reports every problem of the section.
func (l *Log) Check(report units.Report) {
	switch l.Level {
	case "debug", "info", "warn", "error":
	default:
		report("level", "unknown level", l.Level, `"debug", "info", "warn" or "error"`)
	}
	switch l.Format {
	case "json", "console":
	default:
		report("format", "unknown format", l.Format, `"json" or "console"`)
	}
	if l.Output == "" {
		report("output", "missing", l.Output, `"stderr", "stdout" or the path of a file`)
	} else if info, err := os.Stat(filepath.Dir(l.Output)); err != nil || !info.IsDir() {
		report("output", "not in a directory that is there", l.Output, `"stderr", "stdout" or the path of a file`)
	}
	if !(l.AccessSample > 0 && l.AccessSample <= 1) { // not a number is out of range too
		report("access_sample", "out of range", l.AccessSample, "a share above 0, up to 1; access = false writes no lines")
	}
	for i, name := range l.MaskQuery {
		if name == "" {
			report(units.Indexed("mask_query", i), "empty", name, "the name of a parameter")
		}
	}
}
