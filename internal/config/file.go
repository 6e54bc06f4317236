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
	// Include are the files and globs that the configuration's own file includes. They are read: the sections below have all.
	Include  []string       `toml:"include"`
	Gateway  Gateway        `toml:"gateway"`
	Admin    admin.Config   `toml:"admin"`
	Log      Log            `toml:"log"`
	Tracing  tracing.Config `toml:"tracing"`
	Listener []Listener     `toml:"listener"`
	Route    []route.Config `toml:"route"`
	Pool     []Pool         `toml:"pool"`

	// Warnings are what the configuration may have and its operator may not want, ordered by line.
	Warnings []Problem

	// Origin is what the configuration was read from.
	Origin *Origin

	masked map[string]bool // keys whose values have come from substitutions
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

// Load reads the configuration in the file at path, with the files that it includes. Its error is a *multierror.Error of Problem
// when the file can be read and has problems.
func Load(path string) (*File, error) {
	file, _, err := Read(path)
	return file, err
}

// Read is Load, and returns what was read even if there are problems: a change of that may mend them.
func Read(path string) (*File, *Origin, error) {
	text, err := files.Read(path, mostFileBytes)
	r := newReader(path)
	r.origin.addFile(path, text, err)
	if err != nil {
		return nil, r.origin, fmt.Errorf("read the configuration: %w", err)
	}
	file, err := r.parse(text)
	return file, r.origin, err
}

// Parse reads a configuration from text; name stands for the text in problems, as a file's path
// does, and what it includes is relative to its directory. Its error is a *multierror.Error of every Problem, ordered by file and line.
func Parse(name string, text []byte) (*File, error) {
	r := newReader(name)
	r.origin.addFile(name, text, nil)
	r.origin.isText = true
	return r.parse(text)
}

// parse reads the configuration whose own file has the given text.
func (r *reader) parse(text []byte) (*File, error) {
	r.read(r.places.root, text)
	r.found.order = r.origin.Files
	hideSecrets(r.found, "", r.tree)
	file := &File{Origin: r.origin, masked: r.found.masked}
	decoder{places: r.places, found: r.found}.file(r.tree, file)
	file.hideConditions()
	// Where a file can't be read to its end, it is unknown what else it says: a key may only seem to be missing.
	if r.isComplete {
		file.check(r.places, r.found)
	}
	if len(r.found.found) == 0 {
		file.rehearse(reportTo(r.places, r.found, ""))
	}
	if err := r.found.errorOrNil(); err != nil {
		return nil, err
	}
	file.warn(r.places, r.found)
	return file, nil
}

// hideSecrets hides the values of secret keys: a message about another key may have them. None has the fields of heads, whose placeholders are
// in many messages.
func hideSecrets(found *problems, key string, value any) {
	switch v := value.(type) {
	case string:
		if isSecret(key) && !isField(key) {
			found.hide(v)
		}
	case []any:
		for i, element := range v {
			hideSecrets(found, units.Indexed(key, i), element)
		}
	case map[string]any:
		for name, value := range v {
			hideSecrets(found, joinKey(key, quoteKey(name)), value)
		}
	}
}

// hideConditions hides the values of fields and parameters that have come from substitutions: else they are in the names of routes.
func (f *File) hideConditions() {
	for i := range f.Route {
		r := &f.Route[i]
		for condition, values := range map[string]map[string]string{"header": r.Header, "query": r.Query} {
			for name := range values {
				if f.masked[joinKey(units.Indexed("route", i)+"."+condition, quoteKey(name))] {
					if r.Hidden == nil {
						r.Hidden = map[string]bool{}
					}
					r.Hidden[name] = true
				}
			}
		}
	}
}

// check reports what the sections and what checkReferences finds.
func (f *File) check(places *places, found *problems) {
	within := func(section string) units.Report { return reportTo(places, found, section) }
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
	if !found.unread["listener"] && !found.unread["pool"] { // else it is unknown which names there are
		f.checkReferences(within(""))
	}
}

// reportTo returns the Report of a section; "": that of the whole configuration.
func reportTo(places *places, found *problems, section string) units.Report {
	return func(key, problem string, got any, want string) {
		path := joinKey(section, key)
		at := places.of(path)
		found.add(Problem{File: at.file, Line: at.line, Key: path, Text: places.located(problem, at.file), Want: want}, got)
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
