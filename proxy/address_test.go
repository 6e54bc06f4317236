package proxy

import (
	"path/filepath"
	"testing"

	"sluice/proxy/route"
)

func TestARouteAdmitsAddresses(t *testing.T) {
	for name, test := range map[string]struct {
		allow, deny []string
		fields      []string
		isRefused   bool
	}{
		"any without lists":           {nil, nil, nil, false},
		"one of allow":                {[]string{"10.0.0.0/8", "127.0.0.1"}, nil, nil, false},
		"no other":                    {[]string{"10.0.0.0/8"}, nil, nil, true},
		"not one of deny":             {nil, []string{"127.0.0.0/8"}, nil, true},
		"deny over allow":             {[]string{"127.0.0.0/8"}, []string{"127.0.0.1"}, nil, true},
		"whom a proxy names":          {[]string{"192.0.2.0/24"}, nil, []string{"X-Forwarded-For: 192.0.2.9"}, false},
		"not the proxy":               {[]string{"127.0.0.1"}, nil, []string{"X-Forwarded-For: 192.0.2.9"}, true},
		"in IPv6's clothes":           {nil, []string{"::ffff:192.0.2.0/120"}, []string{"X-Forwarded-For: ::ffff:192.0.2.9"}, true},
		"as far as proxies are known": {[]string{"192.0.2.9"}, nil, []string{"X-Forwarded-For: 192.0.2.9, 198.51.100.1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.Listeners[0].TrustedProxies = []string{"127.0.0.1"}
				s.Routes[0].Allow, s.Routes[0].Deny = test.allow, test.deny
				s.Routes[0].Origins = []string{"https://example.com"}
				g := s.run(t)
				refuse := func(ask string) {
					c := g.dial(t)
					c.send(t, ask)
					c.wantRefusal(t, 403, "address")
				}
				if test.isRefused {
					refuse(asking("/", append(test.fields, "Origin: https://evil.test")...)) // before Origin is checked
					refuse(getting("/", test.fields...))
					for i, line := range g.lines(t, 2) {
						if fields := line.ContextMap(); fields["reason"] != "address" || fields["status"] != int64(403) || fields["route"] != "/" {
							t.Errorf("line %d: %v", i, fields)
						}
					}
					if n := g.metric(t, "sluice_handshakes_rejected_total", "route=/", "reason=address"); n != 2 {
						t.Errorf("%v refusals are counted, want 2", n)
					}
					return
				}
				c := g.dial(t)
				c.send(t, getting("/", append(test.fields, "Connection: close")...))
				backend.accept(t).send(t, answering("hello", "Connection: close"))
				c.wantBody(t, 200, "hello")
				g.open(t, backend, test.fields...)
			})
		})
	}
}

func TestARouteThatPassesNoPlainRequestsRefusesAddressesFirst(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		s := newSetup(driver, closedAddress(t))
		s.Routes[0].HTTP, s.Routes[0].Deny = false, []string{"127.0.0.1"}
		g := s.run(t)
		c := g.dial(t)
		c.send(t, getting("/"))
		c.wantRefusal(t, 403, "address")
	})
}

func TestTheAddressOfAPROXYHeaderCounts(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].ProxyProtocol, s.Listeners[0].ProxyProtocolFrom = true, []string{"127.0.0.1"}
		s.Routes[0].Allow = []string{"192.0.2.7"}
		g := s.run(t)
		for _, test := range []struct {
			header    string
			isRefused bool
		}{
			{"PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n", false},
			{"PROXY TCP4 192.0.2.8 203.0.113.1 4711 443\r\n", true},
			{"PROXY UNKNOWN\r\n", true},
		} {
			c := g.dial(t)
			c.send(t, test.header+asking("/"))
			if test.isRefused {
				c.wantRefusal(t, 403, "address")
				continue
			}
			backend.accept(t).send(t, switching())
			c.wantOpen(t)
		}
	})
}

func TestAClientAtAUnixSocketHasNoAddress(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0] = newListener("public", "unix:"+filepath.Join(t.TempDir(), "sock"))
		denies, allows := newRouteConfig("pool"), newRouteConfig("pool")
		denies.Path, denies.Deny = "/denies", []string{"0.0.0.0/0", "::/0"}
		allows.Path, allows.Allow = "/allows", []string{"0.0.0.0/0", "::/0"}
		s.Routes = []route.Config{denies, allows}
		g := s.run(t)
		c := g.dial(t)
		c.send(t, asking("/allows"))
		c.wantRefusal(t, 403, "address")
		c = g.dial(t)
		c.send(t, asking("/denies"))
		backend.accept(t).send(t, switching())
		c.wantOpen(t)
	})
}
