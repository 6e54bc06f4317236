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

// Names are sections that were added, changed in what they say, or removed. A route is identified by its conditions, and
// named by its listener and Title.
type Names struct{ Added, Changed, Removed []string }

// IsEmpty reports whether nothing has changed.
func (d *Diff) IsEmpty() bool { return reflect.DeepEqual(d, new(Diff)) }

// Compare returns what changes from one configuration to the next. Both are as Parse returns them.
func Compare(before, after *File) *Diff {
	d := &Diff{
		Listeners: namesOf(before.Listener, after.Listener, listenerName, listenerName),
		Routes:    namesOf(before.Route, after.Route, (*route.Config).Key, routeName),
		Pools:     namesOf(before.Pool, after.Pool, poolName, poolName),
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

// namesOf compares the elements of an array of tables by what identifies each.
func namesOf[T any, K comparable](before, after []T, key func(*T) K, name func(*T) string) (n Names) {
	old := map[K]*T{}
	for i := range before {
		old[key(&before[i])] = &before[i]
	}
	for i := range after {
		next := &after[i]
		was := old[key(next)]
		switch {
		case was == nil:
			n.Added = append(n.Added, name(next))
		case !reflect.DeepEqual(was, next):
			n.Changed = append(n.Changed, name(next))
		}
		delete(old, key(next))
	}
	for _, gone := range old {
		n.Removed = append(n.Removed, name(gone))
	}
	for _, names := range [][]string{n.Added, n.Changed, n.Removed} {
		slices.Sort(names)
	}
	return n
}

func listenerName(l *Listener) string { return l.Name }

func poolName(p *Pool) string { return p.Name }

// routeName returns the listener of a route ("*": every one), and its name, with a host in lower case.
func routeName(r *route.Config) string {
	folded := *r
	folded.Host = strings.ToLower(r.Host)
	return cmp.Or(r.Listener, "*") + " " + folded.Title()
}
