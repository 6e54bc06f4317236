package config

import (
	"fmt"
	"slices"
	"time"

	"sluice/balancer"
	"sluice/internal/units"
	"sluice/proxy/route"
)

// warn fills Warnings. The configuration has no problem.
func (f *File) warn(places *places, found *problems) {
	within := func(section string) units.Report { return reportTo(places, found, section) }
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
	f.warnOfOverlaps(within(""))
	f.warnOfGathering(within(""))
	f.warnOfTitles(within(""))
	f.warnOfStrangers(within(""))
	found.sort()
	f.Warnings = found.found
}

// warnOfUnusedPools reports pools that no route names. They are no problem: an operator may prepare one before its route.
func (f *File) warnOfUnusedPools(report units.Report) {
	isUsed := map[string]bool{}
	for i := range f.Route {
		for _, share := range f.Route[i].Shares() {
			isUsed[share.Pool] = true
		}
	}
	for i := range f.Pool {
		if name := f.Pool[i].Name; !isUsed[name] {
			report(units.Indexed("pool", i), fmt.Sprintf("no route uses the pool %q", name), nil, "")
		}
	}
}

// warnOfOverlaps reports routes whose requests go, or may go, to another one.
func (f *File) warnOfOverlaps(report units.Report) {
	for _, o := range route.Overlaps(f.Route) {
		at, other := units.Indexed("route", o.Route), units.Indexed("route", o.Other)
		if o.IsHidden {
			report(at, "never reached: "+other+" ranks higher and matches all its requests", nil, "a higher priority, to come first")
		} else {
			report(at, "has the rank of "+other+", and a request may match both: the first one in the file gets it", nil, "priority, to decide without the order")
		}
	}
}

// warnOfGathering reports routes of which one pool keeps its clients by a cookie, and another one does not keep them: each time a client
// comes, it may get into the first one, and then it stays there.
func (f *File) warnOfGathering(report units.Report) {
	policies := map[string]string{}
	for i := range f.Pool {
		policies[f.Pool[i].Name] = f.Pool[i].Policy
	}
	for i := range f.Route {
		keeps, loses, hasKey := "", "", false
		for _, share := range f.Route[i].Shares() {
			switch policies[share.Pool] {
			case balancer.PolicySticky:
				keeps = share.Pool
			case balancer.PolicyHash, balancer.PolicyIPHash:
				hasKey = true // by which a client without a cookie keeps its pool as well
			default:
				loses = share.Pool
			}
		}
		if !hasKey && keeps != "" && loses != "" {
			problem := fmt.Sprintf("clients of the pool %q that come again gather in the pool %q, whose policy is sticky", loses, keeps)
			report(units.Indexed("route", i)+".pools", problem, nil, "")
		}
	}
}

// warnOfStrangers reports routes with a condition of a field that counts only from a trusted proxy, where no listener trusts one.
func (f *File) warnOfStrangers(report units.Report) {
	for i := range f.Route {
		r, unmet := &f.Route[i], ""
		isMet := slices.ContainsFunc(f.Listener, func(l Listener) bool {
			if r.Listener != "" && r.Listener != l.Name {
				return false
			}
			unmet = r.UnbelievedField(len(l.TrustedProxies) > 0, l.TrustedClientCertificate)
			return unmet == ""
		})
		if !isMet {
			at := units.Indexed("route", i) + ".header." + unmet
			report(at, "never met: the field counts only from a trusted proxy, and no listener of the route trusts one for it", nil, "trusted_proxies of the listener")
		}
	}
}

// warnOfTitles reports routes that logs and metrics do not distinguish, since they differ only in values that are not shown.
func (f *File) warnOfTitles(report units.Report) {
	type title struct{ listener, text string }
	first := map[title]int{}
	for i := range f.Route {
		of := title{f.Route[i].Listener, f.Route[i].Title()}
		if j, isTaken := first[of]; isTaken {
			report(units.Indexed("route", i), "its name in logs and metrics is that of "+units.Indexed("route", j), nil, "name, to distinguish them")
		} else {
			first[of] = i
		}
	}
}
