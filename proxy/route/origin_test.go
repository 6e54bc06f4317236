package route

import (
	"strings"
	"testing"

	"sluice/balancer"
)

// originRoute returns a route with those origins.
func originRoute(origins ...string) *Route {
	return New(&Config{Origins: origins}, &balancer.Config{}, nil)
}

func TestOriginsThatMayConnect(t *testing.T) {
	for _, test := range []struct {
		rule   string // "" if the route lists none
		origin string // "-" if the request has none
		isIn   bool
	}{
		{"", "https://any.example", true},
		{"", "rubbish", true},
		{"https://a.example", "-", true}, // no browser

		{"https://a.example", "https://a.example", true},
		{"https://a.example", "HTTPS://A.Example", true},
		{"HTTPS://A.Example", "https://a.example", true},
		{"https://a.example", "https://a.example.", true},
		{"https://a.example.", "https://a.example", true},
		{"https://a.example", "http://a.example", false},
		{"https://a.example", "https://a.example.evil.test", false},
		{"https://a.example", "https://b.a.example", false},
		{"https://a.example", "null", false},
		{"https://a.example", "", false},
		{"https://a.example", "https://", false},
		{"https://a.example", "https://*", false},
		{"https://a.example", "a.example", false},

		// Ports: the scheme's own is the same as none.
		{"https://a.example", "https://a.example:443", true},
		{"https://a.example:443", "https://a.example", true},
		{"http://a.example", "http://a.example:80", true},
		{"wss://a.example:443", "wss://a.example", true},
		{"ws://a.example", "ws://a.example:80", true},
		{"https://a.example", "https://a.example:80", false},
		{"https://a.example", "https://a.example:8443", false},
		{"https://a.example:8443", "https://a.example:8443", true},
		{"https://a.example:8443", "https://a.example", false},
		{"https://a.example", "https://a.example:", false},
		{"https://a.example", "https://a.example:0", false},
		{"https://a.example", "https://a.example:66000", false},
		{"https://a.example", "https://a.example:443:443", false},
		{"https://a.example", "https://a.example:+443", false},

		// Nothing beside scheme, host and port.
		{"https://a.example", "https://a.example/", false},
		{"https://a.example", "https://a.example/path", false},
		{"https://a.example", "https://a.example?query", false},
		{"https://a.example", "https://a.example#fragment", false},
		{"https://a.example", "https://user@a.example", false},
		{"https://a.example", "https://a.example, https://a.example", false},
		{"https://a.example", " https://a.example", false},

		// Every name below one.
		{"https://*.a.example", "https://b.a.example", true},
		{"https://*.A.example", "https://c.B.a.EXAMPLE.", true},
		{"https://*.a.example", "https://b.a.example:443", true},
		{"https://*.a.example", "https://b.a.example:8443", false},
		{"https://*.a.example", "http://b.a.example", false},
		{"https://*.a.example", "https://a.example", false},
		{"https://*.a.example", "https://.a.example", false},
		{"https://*.a.example", "https://b..a.example", false},
		{"https://*.a.example", "https://bada.example", false},
		{"https://*.a.example", "https://evil.com/.a.example", false},
		{"https://*.a.example", "https://evil.com?.a.example", false},
		{"https://*.a.example", "https://evil.com#.a.example", false},
		{"https://*.a.example", `https://evil.com\.a.example`, false},
		{"https://*.a.example", "https://evil.com:443.a.example", false},
		{"https://*.a.example", "https://user@b.a.example", false},
		{"https://*.a.example:8443", "https://b.a.example:8443", true},
		{"https://*.a.example:8443", "https://b.a.example", false},

		// Every host.
		{"https://*", "https://any.example", true},
		{"https://*", "https://any.example:443", true},
		{"https://*", "https://[2001:db8::1]", true},
		{"https://*", "https://any.example:8443", false},
		{"https://*", "http://any.example", false},
		{"https://*", "https://any.example/", false},
		{"https://*", "https://", false},
		{"https://*", "null", false},
		{"http://*", "http://any.example", true},
		{"https://*:8443", "https://any.example:8443", true},
		{"https://*:8443", "https://any.example", false},
		{"chrome-extension://*", "chrome-extension://aapocclcgogkmnckokdopfmhonfmgoek", true},

		// Addresses.
		{"http://192.0.2.1:3000", "http://192.0.2.1:3000", true},
		{"https://[2001:db8::1]", "https://[2001:DB8::1]:443", true},
		{"https://[2001:db8:0::1]:8443", "https://[2001:db8::1]:8443", true},
		{"https://[2001:db8::1]", "https://2001:db8::1", false},
		{"https://[2001:db8::1]", "https://[2001:db8::1", false},
		{"https://[2001:db8::1]", "https://[2001:db8::1]evil", false},
		{"https://[2001:db8::1]", "https://[2001:db8::1%25eth0]", false},

		// Pages and programs without a host of their own.
		{"null", "null", true},
		{"null", "NULL", false},
		{"null", "null://", false},
		{"null", "file://", false},
		{"null", "", false},
		{"file://", "file://", true},
		{"file://", "FILE://", true},
		{"file://", "file:///home", false},
		{"file://", "file://host", false},
		{"file://", "null", false},
		{"app://-", "app://-", true},
		{"app://.", "app://.", true},
		{"https://a.example", "https://.", false},
		{"app://-", "app://-/", false},
		{"app://-", "app://-:443", false},
		{"capacitor://localhost", "capacitor://localhost", true},
		{"capacitor://localhost", "http://localhost", false},
		{"chrome-extension://aapocclcgogkmnckokdopfmhonfmgoek", "chrome-extension://aapocclcgogkmnckokdopfmhonfmgoek", true},
		{"chrome-extension://aapocclcgogkmnckokdopfmhonfmgoek", "chrome-extension://other", false},
	} {
		var rules []string
		if test.rule != "" {
			if _, err := parseOriginRule(test.rule); err != nil {
				t.Errorf("parseOriginRule(%q): %v", test.rule, err)
				continue
			}
			rules = []string{"https://other.test", test.rule} // a further rule changes nothing
		}
		sent := []byte(test.origin)
		if test.origin == "-" {
			sent = nil
		}
		if got := originRoute(rules...).AllowsOrigin(sent, []byte("gateway.test")); got != test.isIn {
			t.Errorf("origins %q, Origin %q: allowed %v, want %v", rules, test.origin, got, test.isIn)
		}
	}
}

func TestTheSameOriginIsThatOfTheHost(t *testing.T) {
	for _, test := range []struct {
		origin, host string
		isIn         bool
	}{
		{"http://gateway.test", "gateway.test", true},
		{"https://GATEWAY.test", "gateway.test.", true},
		{"https://gateway.test", "gateway.test:443", true},
		{"https://gateway.test:443", "gateway.test", true},
		{"http://gateway.test", "gateway.test:80", true},
		{"https://gateway.test", "gateway.test:80", false},
		{"https://gateway.test:8443", "gateway.test:8443", true},
		{"https://gateway.test:81", "gateway.test", false},
		{"https://gateway.test", "gateway.test:81", false},
		{"https://other.test", "gateway.test", false},
		{"https://gateway.test/", "gateway.test", false},
		{"https://[2001:db8::1]:8443", "[2001:DB8::1]:8443", true},
		{"https://[2001:db8::1]", "[2001:db8::2]", false},
		{"null", "gateway.test", false},
		{"file://", "gateway.test", false},
		{"file://", "", false},
		{"null", "", false},
		{"https://gateway.test", "", false},
		{"https://gateway.test", "gateway.test:port", false},
	} {
		if got := originRoute("same").AllowsOrigin([]byte(test.origin), []byte(test.host)); got != test.isIn {
			t.Errorf("Origin %q, Host %q: the same %v, want %v", test.origin, test.host, got, test.isIn)
		}
	}
}

func TestElementsOfOriginsThatAreRefused(t *testing.T) {
	for _, test := range []struct {
		rule string
		want error
	}{
		{"", errNoOrigin},
		{"*", errNoOrigin},
		{"example.com", errNoOrigin},
		{"https:", errNoOrigin},
		{"https://", errNoOrigin},
		{"app://", errNoOrigin},
		{"://example.com", errNoOrigin},
		{"1http://example.com", errNoOrigin},
		{"ht*tp://example.com", errNoOrigin},
		{"https://example.com/", errBeyondOrigin},
		{"https://*/chat", errBeyondOrigin},
		{"https://example.com?x", errBeyondOrigin},
		{"https://user@example.com", errBeyondOrigin},
		{"https://*example.com", errOriginWildcard},
		{"https://**.example.com", errOriginWildcard},
		{"https://chat.*.example.com", errOriginWildcard},
		{"https://example.*", errOriginWildcard},
		{"https://example.com:*", errOriginWildcard},
		{"https://*.192.0.2.1", errOriginWildcard},
		{"https://*.[2001:db8::1]", errOriginWildcard},
		{"https://*.*.example.com", errOriginHost},
		{"https://*.", errOriginBelow},
		{"https://*.:8443", errOriginBelow},
		{"https://bücher.example", errNotASCII},
		{"https://*.bücher.example:8443", errNotASCII},
		{"https://exa mple.com", errOriginHost},
		{"https://.example.com", errOriginHost},
		{"https://example..com", errOriginHost},
		{"https://[example.com]", errOriginHost},
		{"https://[fe80::1%eth0]", errOriginHost},
		{"file://*", errOriginHost},
		{"https://*:port", errOriginPort},
		{"https://example.com:", errOriginPort},
		{"https://example.com:0", errOriginPort},
		{"https://example.com:65536", errOriginPort},
	} {
		if _, err := parseOriginRule(test.rule); err != test.want {
			t.Errorf("parseOriginRule(%q): %v, want %v", test.rule, err, test.want)
		}
	}
}

// FuzzOrigin checks that no bytes of a file, an Origin or a Host panic, that each listed origin is admitted, and that no origin with more than
// scheme, host and port is.
func FuzzOrigin(f *testing.F) {
	for _, rule := range []string{"https://a.example", "https://*", "http://*:8080", "https://*.a.example:443", "same", "null", "file://", "app://-", "https://[2001:db8::1]:1"} {
		f.Add(rule, "https://b.a.example", "gateway.test:443")
		f.Add(rule, "https://evil.com/.a.example", "[::1]")
	}
	f.Fuzz(func(t *testing.T, rule, sent, host string) {
		o, err := parseOriginRule(rule)
		if err != nil {
			return
		}
		r := originRoute(rule)
		isIn := r.AllowsOrigin([]byte(sent), []byte(host))
		if isIn && strings.ContainsAny(strings.Replace(sent, "://", "", 1), "/\\?#@*,% \t\r\n\x00") {
			t.Errorf("origins %q admit Origin %q", rule, sent)
		}
		own := rule
		switch o.Hosts {
		case requestHost:
			own = "https://" + host
			if _, err := parseOrigin(own); err != nil {
				return
			}
		case anyHost, belowHost:
			own = strings.Replace(rule, "*", "any", 1)
		}
		if !r.AllowsOrigin([]byte(own), []byte(host)) {
			t.Errorf("origins %q refuse Origin %q, Host %q", rule, own, host)
		}
		for _, more := range []string{"/", "/x", "?", "#", "@a.example", ", " + own} {
			if r.AllowsOrigin([]byte(own+more), []byte(host)) {
				t.Errorf("origins %q admit Origin %q", rule, own+more)
			}
		}
	})
}

func TestAllowingAnOriginDoesNotAllocate(t *testing.T) {
	r := originRoute("https://a.example", "https://*.b.example", "same")
	sent, host := []byte("https://sub.b.example"), []byte("gateway.test")
	if n := testing.AllocsPerRun(100, func() { r.AllowsOrigin(sent, host) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
