package config

import (
	"fmt"

	"sluice/internal/admin"
	"sluice/internal/files"
	"sluice/internal/tracing"
	"sluice/internal/units"
	"sluice/proxy/route"
)

// A File is a whole configuration. One that Parse has returned is complete and checked: every key
// has its value or its default, and every name that refers to something finds it.
type File struct {
	Gateway  Gateway        `toml:"gateway"`
	Admin    admin.Config   `toml:"admin"`
	Log      Log            `toml:"log"`
	Tracing  tracing.Config `toml:"tracing"`
	Listener []Listener     `toml:"listener"`
	Route    []route.Config `toml:"route"`
	Pool     []Pool         `toml:"pool"`

	// Warnings are what the configuration may have and its operator may not want, ordered by line.
	Warnings []Problem
}

// mostFileBytes bounds what is read as a configuration.
const mostFileBytes = 16 << 20

// Gateway is the [gateway] section: what concerns the process as a whole.
type Gateway struct {
	// Workers is the number of event loops; zero: one per CPU.
	Workers int `toml:"workers" default:"0"`
	// Driver names the driver that moves the bytes of sessions: auto, loop or goroutine.
	Driver string `toml:"driver" default:"auto"`
	// Drain is how long a stop spreads the closes of live sessions.
	Drain units.Duration `toml:"drain" default:"30s"`
	// DrainDelay is how long readiness is 503 before the listeners close.
	DrainDelay units.Duration `toml:"drain_delay" default:"0s"`
	// HandoverTimeout is how long an upgrade waits for the new process to be ready, and then for each of its answers.
	HandoverTimeout units.Duration `toml:"handover_timeout" default:"30s"`
	// MaxSessions bounds the live sessions; zero: from the limit of descriptors.
	MaxSessions int `toml:"max_sessions" default:"0"`
	// Watch reloads the file when it changes.
	Watch bool `toml:"watch" default:"false"`
	// OnRemoved is what happens to the live sessions of routes and pools that a reload removes: keep or drain.
	OnRemoved string `toml:"on_removed" default:"keep"`
}

// The values of Gateway.OnRemoved.
const (
	OnRemovedKeep  = "keep"
	OnRemovedDrain = "drain"
)

// Load reads the configuration in the file at path. Its error is a *multierror.Error of Problem
// when the file can be read and has problems.
func Load(path string) (*File, error) {
	text, err := files.Read(path, mostFileBytes)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, text)
}

// Parse reads a configuration from text; name stands for the text in problems, as a file's path
// does. Its error is a *multierror.Error of every Problem, ordered by line.
func Parse(name string, text []byte) (*File, error) {
	found := problems{file: name, unread: map[string]bool{}}
	tree, positions := readSyntax(text, &found)
	file := new(File)
	// Without a tree it is unknown what else the text says: a key may only seem to be missing.
	if tree != nil {
		decoder{positions: positions, found: &found}.file(tree, file)
		file.check(positions, &found)
	}
	if len(found.found) == 0 {
		file.rehearse(reportTo(positions, &found, ""))
	}
	if err := found.errorOrNil(); err != nil {
		return nil, err
	}
	file.warn(name, positions)
	return file, nil
}

// check reports what the sections and what checkReferences finds.
func (f *File) check(positions *positions, found *problems) {
	within := func(section string) units.Report { return reportTo(positions, found, section) }
	f.Gateway.Check(within("gateway"))
	f.Admin.Check(within("admin"))
	f.Log.Check(within("log"))
	f.Tracing.Check(within("tracing"))
	for i := range f.Listener {
		f.Listener[i].Check(within(units.Indexed("listener", i)))
	}
	for i := range f.Route {
		f.Route[i].Check(within(units.Indexed("route", i)))
	}
	for i := range f.Pool {
		f.Pool[i].Check(within(units.Indexed("pool", i)))
	}
	f.checkReferences(within(""))
}

// reportTo returns the Report of a section; "": that of the whole configuration.
func reportTo(positions *positions, found *problems, section string) units.Report {
	return func(key, problem string, got any, want string) {
		path := joinKey(section, key)
		found.add(Problem{Line: positions.line(path), Key: path, Text: problem, Want: want}, got)
	}
}

// Check reports every problem of the section.
func (g *Gateway) Check(report units.Report) {
	if g.Workers < 0 || g.Workers > maxWorkers {
		report("workers", "out of range", g.Workers, fmt.Sprintf("0 for one a CPU, or 1 to %d", maxWorkers))
	}
	switch g.Driver {
	case "auto", "loop", "goroutine":
	default:
		report("driver", "unknown", g.Driver, "auto, loop or goroutine")
	}
	switch g.OnRemoved {
	case OnRemovedKeep, OnRemovedDrain:
	default:
		report("on_removed", "unknown", g.OnRemoved, `"keep" or "drain"`)
	}
	if g.HandoverTimeout <= 0 {
		report("handover_timeout", "not positive", g.HandoverTimeout, "a duration such as \"30s\"")
	}
	if g.MaxSessions < 0 {
		report("max_sessions", "negative", g.MaxSessions, "0 for the limit of descriptors, or a number of sessions")
	}
}

// maxWorkers is far above the CPUs of any machine: more loops than CPUs only cost.
const maxWorkers = 1024
