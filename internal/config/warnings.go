package config

import (
	"fmt"
	"time"

	"sluice/internal/units"
)

// warn fills Warnings. The configuration has no problem.
func (f *File) warn(name string, positions *positions) {
	found := problems{file: name}
	within := func(section string) units.Report { return reportTo(positions, &found, section) }
	now := time.Now()
	f.Admin.Warn(within("admin"))
	for i := range f.Listener {
		if l := &f.Listener[i]; l.TLS != nil {
			l.TLS.Warn(within(units.Indexed("listener", i)).In("tls"), now)
		}
	}
	for i := range f.Route {
		f.Route[i].Warn(within(units.Indexed("route", i)))
	}
	for i := range f.Pool {
		report := within(units.Indexed("pool", i))
		f.Pool[i].Warn(report)
		f.Pool[i].TLS.Warn(report.In("tls"), now)
	}
	f.warnOfUnusedPools(within(""))
	found.sort()
	f.Warnings = found.found
}

// warnOfUnusedPools reports pools that no route names. They are no problem: an operator may prepare one before its route.
func (f *File) warnOfUnusedPools(report units.Report) {
	isUsed := map[string]bool{}
	for i := range f.Route {
		isUsed[f.Route[i].Pool] = true
	}
	for i := range f.Pool {
		if name := f.Pool[i].Name; !isUsed[name] {
			report(units.Indexed("pool", i), fmt.Sprintf("no route uses the pool %q", name), nil, "")
		}
	}
}
