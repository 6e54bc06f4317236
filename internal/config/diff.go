package config

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"sluice/proxy/route"
)

// A Diff is what one configuration has that another has not.
type Diff struct {
	Listeners, Routes, Pools Names

	// Keys are the changed keys of the other sections, as "gateway.drain", that a reload makes effective.
	Keys []string
	// Waiting are those that only a restart makes effective.
	Waiting []string
}

// Names are sections that were added, changed in what they say, or removed. A route is named by its listener, host and path.
type Names struct{ Added, Changed, Removed []string }

// IsEmpty reports whether nothing has changed.
func (d *Diff) IsEmpty() bool { return reflect.DeepEqual(d, new(Diff)) }

// Compare returns what changes from one configuration to the next. Both are as Parse returns them.
func Compare(before, after *File) *Diff {
	d := &Diff{
		Listeners: namesOf(before.Listener, after.Listener, func(l *Listener) string { return l.Name }),
		Routes:    namesOf(before.Route, after.Route, routeName),
		Pools:     namesOf(before.Pool, after.Pool, func(p *Pool) string { return p.Name }),
	}
	old, next := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	for i := range old.NumField() {
		if section := old.Type().Field(i); section.Type.Kind() == reflect.Struct {
			d.compareSection(section.Tag.Get("toml"), old.Field(i), next.Field(i))
		}
	}
	return d
}

// isLive has the keys outside of listeners, routes and pools that a reload makes effective.
var isLive = map[string]bool{
	"gateway.drain":            true,
	"gateway.drain_delay":      true,
	"gateway.handover_timeout": true,
	"gateway.max_sessions":     true,
	"gateway.on_removed":       true,
	"gateway.watch":            true,
	"log.level":                true,
}

// compareSection adds the keys of a section whose values differ.
func (d *Diff) compareSection(name string, before, after reflect.Value) {
	for i := range before.NumField() {
		if reflect.DeepEqual(before.Field(i).Interface(), after.Field(i).Interface()) {
			continue
		}
		tag, _, _ := strings.Cut(before.Type().Field(i).Tag.Get("toml"), ",")
		if key := joinKey(name, tag); isLive[key] {
			d.Keys = append(d.Keys, key)
		} else {
			d.Waiting = append(d.Waiting, key)
		}
	}
}

// namesOf compares the elements of an array of tables by their names, which are unique in each.
func namesOf[T any](before, after []T, name func(*T) string) (n Names) {
	old := map[string]*T{}
	for i := range before {
		old[name(&before[i])] = &before[i]
	}
	for i := range after {
		key := name(&after[i])
		was := old[key]
		switch {
		case was == nil:
			n.Added = append(n.Added, key)
		case !reflect.DeepEqual(was, &after[i]):
			n.Changed = append(n.Changed, key)
		}
		delete(old, key)
	}
	for i := range before {
		if key := name(&before[i]); old[key] != nil {
			n.Removed = append(n.Removed, key)
		}
	}
	for _, names := range [][]string{n.Added, n.Changed, n.Removed} {
		slices.Sort(names)
	}
	return n
}

// routeName returns a name that no other route has: its listener ("*": every one), host and path.
func routeName(r *route.Config) string {
	return cmp.Or(r.Listener, "*") + " " + strings.ToLower(r.Host) + cmp.Or(strings.TrimRight(r.Path, "/"), "/")
}
