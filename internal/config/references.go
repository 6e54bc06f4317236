package config

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"

	"sluice/balancer"
	"sluice/internal/units"
	"sluice/proxy/route"
)

// checkReferences reports what concerns more than one section. Keys are full paths.
func (f *File) checkReferences(report units.Report) {
	f.checkPresence(report)
	f.checkListeners(report)
	f.checkPools(report)
	f.checkRoutes(report)
	f.checkLoops(report)
	f.checkDriver(report)
}

// checkPresence reports what no gateway can do without.
func (f *File) checkPresence(report units.Report) {
	if len(f.Listener) == 0 {
		report("listener", "missing", nil, "at least one [[listener]]")
	}
	if len(f.Route) == 0 {
		report("route", "missing", nil, "at least one [[route]]")
	}
	needsPool := func(r route.Config) bool { return !r.AnswersItself() }
	if len(f.Pool) == 0 && (len(f.Route) == 0 || slices.ContainsFunc(f.Route, needsPool)) {
		report("pool", "missing", nil, "at least one [[pool]]")
	}
}

// checkListeners reports names and addresses that are taken.
func (f *File) checkListeners(report units.Report) {
	for i, listener := range f.Listener {
		at := units.Indexed("listener", i)
		if overlaps(listener.Address, f.Admin.Address) {
			report(at+".address", "taken by admin.address", listener.Address, "an address of its own")
		}
		for j, other := range f.Listener[:i] {
			if listener.Name != "" && listener.Name == other.Name {
				report(at+".name", "taken by "+units.Indexed("listener", j), listener.Name, "a name of its own")
			}
			if overlaps(listener.Address, other.Address) {
				report(at+".address", "taken by "+units.Indexed("listener", j), listener.Address, "an address of its own")
			}
		}
	}
}

// checkPools reports names that are taken.
func (f *File) checkPools(report units.Report) {
	for i, pool := range f.Pool {
		for j, other := range f.Pool[:i] {
			if pool.Name != "" && pool.Name == other.Name {
				report(units.Indexed("pool", i)+".name", "taken by "+units.Indexed("pool", j), pool.Name, "a name of its own")
			}
		}
	}
}

// checkRoutes reports names that lead nowhere, and routes that another one hides.
func (f *File) checkRoutes(report units.Report) {
	var pools, listeners []string
	for _, pool := range f.Pool {
		pools = append(pools, pool.Name)
	}
	for _, listener := range f.Listener {
		listeners = append(listeners, listener.Name)
	}
	for i, r := range f.Route {
		at := units.Indexed("route", i)
		checkName(report, at+".pool", "pool", r.Pool, pools)
		for j, share := range r.Pools {
			checkName(report, units.Indexed(at+".pools", j)+".pool", "pool", share.Pool, pools)
		}
		checkName(report, at+".listener", "listener", r.Listener, listeners)
	}
	f.checkKeys(report)
}

// checkKeys reports routes whose conditions or names are those of another one.
func (f *File) checkKeys(report units.Report) {
	byKey, byTitle := map[route.Key]int{}, map[string]int{}
	for i := range f.Route {
		r := &f.Route[i]
		at, key, title := units.Indexed("route", i), r.Key(), r.Title()
		if j, isTaken := byKey[key]; isTaken {
			hidden, by := i, j
			if r.Priority > f.Route[j].Priority {
				hidden, by = j, i
			}
			report(units.Indexed("route", hidden), "never reached: "+units.Indexed("route", by)+" has the same conditions", nil, "another listener, host, path or other condition")
		} else {
			byKey[key] = i
		}
		// Without names of their own, routes of different listeners may have the same one.
		if j, isTaken := byTitle[title]; isTaken && (r.Name != "" || f.Route[j].Name != "") {
			if r.Name == "" {
				at = units.Indexed("route", j)
			}
			report(at+".name", "the name of another route", title, "a name of its own")
		}
		byTitle[title] = i
	}
}

// checkLoops reports backends that are the listener from which their pool is reached: the gateway would send each request to itself. A
// route that changes the path may lead elsewhere the next time. What no text shows is found by counting gateways.
func (f *File) checkLoops(report units.Report) {
	for i, pool := range f.Pool {
		for j, backend := range pool.Backend {
			for k, listener := range f.Listener {
				isLoop := isListener(backend.Address, listener.Address) && slices.ContainsFunc(f.Route, func(r route.Config) bool {
					return hasPool(&r, pool.Name) && r.StripPrefix == "" && r.RewritePath == "" && r.HostHeader == "" && (r.Listener == "" || r.Listener == listener.Name)
				})
				if isLoop && !listener.RedirectHTTPS {
					report(units.Indexed(units.Indexed("pool", i)+".backend", j)+".address", "the gateway itself: "+units.Indexed("listener", k), backend.Address, "the address of a backend")
				}
			}
		}
	}
}

// hasPool reports whether a pool is among those of a route.
func hasPool(r *route.Config, name string) bool {
	return slices.ContainsFunc(r.Shares(), func(s route.Share) bool { return s.Pool == name })
}

// checkDriver reports what needs event loops where there are none.
func (f *File) checkDriver(report units.Report) {
	problem := ""
	switch {
	case f.Gateway.Driver == "goroutine":
		problem = "needs event loops, which gateway.driver forbids"
	case runtime.GOOS != "linux":
		problem = "needs event loops, which only Linux has"
	default:
		return
	}
	for i := range f.Listener {
		if l := &f.Listener[i]; l.SpeaksHTTP2() {
			report(units.Indexed("listener", i)+".http2", problem, l.HTTP2, `"off"`)
		}
	}
	for i := range f.Pool {
		if p := &f.Pool[i]; p.Protocol == balancer.ProtocolHTTP2 {
			report(units.Indexed("pool", i)+".protocol", problem, p.Protocol, `"http/1.1"`)
		}
	}
}

// isListener reports whether the address of a backend leads to a listener, as far as their texts show.
func isListener(backend, listener string) bool {
	backend = strings.TrimPrefix(strings.TrimPrefix(backend, "ws://"), "wss://")
	if strings.HasPrefix(backend, "unix:") || strings.HasPrefix(listener, "unix:") {
		return backend == listener
	}
	host, port, err := net.SplitHostPort(backend)
	at, listenerPort, listenerErr := net.SplitHostPort(listener)
	switch {
	case err != nil || listenerErr != nil || port != listenerPort || port == "0":
		return false
	case strings.EqualFold(host, at):
		return true
	case strings.EqualFold(host, "localhost"), isWildcard(host): // to connect to, every address is this machine
		return isWildcard(at) || at == "127.0.0.1" || at == "::1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	addr = addr.Unmap()
	if isWildcard(at) {
		return addr.IsLoopback() && (at != "0.0.0.0" || addr.Is4())
	}
	listened, err := netip.ParseAddr(at)
	return err == nil && listened.Unmap() == addr
}

// checkName reports a name that no section of the kind has. An empty one has a meaning of its own,
// or its section reports it; and a section whose name is still missing may be the one that is meant.
func checkName(report units.Report, key, kind, name string, existing []string) {
	if name == "" || slices.Contains(existing, name) || slices.Contains(existing, "") {
		return
	}
	problem, want := "unknown "+kind, "the name of a [["+kind+"]]"
	if near, found := nearest(name, existing); found {
		problem = fmt.Sprintf("unknown %s, did you mean %q?", kind, near)
	}
	report(key, problem, name, want)
}

// overlaps reports whether two listening addresses can't be bound at the same time, as far as their
// texts show.
func overlaps(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	if strings.HasPrefix(a, "unix:") || strings.HasPrefix(b, "unix:") {
		return a == b
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return isWildcard(hostA) || isWildcard(hostB) || strings.EqualFold(hostA, hostB)
}

// isWildcard reports whether a host means every address of the machine.
func isWildcard(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}
