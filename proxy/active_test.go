package proxy

import "testing"

// A route that a reload removes has no series any more after its last session; one that it adds has one at once.
// Faults D: sluice_sessions_active of a removed route stays.
func TestTheSeriesOfARemovedRouteEndsWithItsLastSession(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].Path = "/old"
		g := s.run(t)
		series := func(route string) bool { return g.hasSeries(t, "sluice_sessions_active", "route", route) }
		c := g.dial(t)
		c.send(t, asking("/old"))
		b := backend.accept(t)
		b.send(t, switching())
		c.wantOpen(t)

		changed := s.Sections
		added := newRouteConfig("pool")
		added.Path = "/new"
		changed.Routes = append(changed.Routes[:0:0], added)
		if err := g.Reload(changed); err != nil {
			t.Fatal(err)
		}
		if !series("/old") || !series("/new") || g.metric(t, "sluice_sessions_active") != 1 {
			t.Errorf("series of /old %t, of /new %t, %v sessions; want both, and one session", series("/old"), series("/new"), g.metric(t, "sluice_sessions_active"))
		}
		_, _ = c.Close(), b.Close()
		eventually(t, "no series of the removed route", func() bool { return !series("/old") })
		if !series("/new") {
			t.Error("a route without sessions has no series")
		}
		if err := g.Reload(s.Sections); err != nil {
			t.Fatal(err)
		}
		if !series("/old") || series("/new") {
			t.Errorf("series of /old %t, of /new %t; want the first", series("/old"), series("/new"))
		}
	})
}

// hasSeries reports whether a metric has a series with that label.
func (g *gateway) hasSeries(t *testing.T, name, label, value string) bool {
	t.Helper()
	families, err := g.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == label && l.GetValue() == value {
					return true
				}
			}
		}
	}
	return false
}
