package route

import (
	"fmt"
	"strings"
	"testing"

	"sluice/upgrade"
)

// parsed returns the request of those lines; the target is for host "a", unless a line has another Host.
func parsed(t testing.TB, method, target string, lines ...string) *upgrade.Request {
	t.Helper()
	text := method + " " + target + " HTTP/1.1\r\n"
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "Host: ") {
		text += "Host: a\r\n"
	}
	for _, line := range lines {
		text += line + "\r\n"
	}
	req := new(upgrade.Request)
	if n, err := req.Parse([]byte(text + "\r\n")); err != nil || n == 0 {
		t.Fatalf("%q: %v", text, err)
	}
	return req
}

func TestARequestMeetsEachKindOfCondition(t *testing.T) {
	exact := func(path string) Config { return Config{Path: "/", PathExact: path} }
	expression := func(text string) Config { return Config{Path: "/", PathRegexp: text} }
	header := func(value string) Config { return Config{Path: "/", Header: map[string]string{"X-Version": value}} }
	query := func(name, value string) Config { return Config{Path: "/", Query: map[string]string{name: value}} }
	host := func(hosts ...string) Config { return Config{Path: "/", Hosts: hosts} }
	for _, test := range []struct {
		config         Config
		method, target string
		line           string
		isMet          bool
	}{
		{host("app.*"), "GET", "/", "Host: app.example.com", true},
		{host("app.*"), "GET", "/", "Host: APP.x:8080", true},
		{host("app.*"), "GET", "/", "Host: app", false},
		{host("app.*"), "GET", "/", "Host: app.", false},
		{host("app.*"), "GET", "/", "Host: happ.example.com", false},
		{host("app.*"), "GET", "/", "Host: x.app.example.com", false},
		{host("*.a.test", "b.test"), "GET", "/", "Host: b.test", true},
		{host("*.a.test", "b.test"), "GET", "/", "Host: x.a.test", true},
		{host("*.a.test", "b.test"), "GET", "/", "Host: a.test", false},
		{host("[2001:DB8:0::1]"), "GET", "/", "Host: [2001:db8::1]", true},

		{exact("/a"), "GET", "/a", "", true},
		{exact("/a"), "GET", "/%61?b=/", "", true},
		{exact("/a"), "GET", "//a", "", true},
		{exact("/a"), "GET", "/a/", "", false},
		{exact("/a"), "GET", "/a/b", "", false},
		{exact("/a"), "GET", "/A", "", false},
		{exact("/a/"), "GET", "/a/", "", true},
		{exact("/a/"), "GET", "/a", "", false},
		{exact("/"), "GET", "/", "", true},
		{exact("/"), "GET", "/a", "", false},

		{expression("^/v[0-9]+/"), "GET", "/v12/a", "", true},
		{expression("^/v[0-9]+/"), "GET", "/v%31/a", "", true},
		{expression("^/v[0-9]+/"), "GET", "/x/v1/", "", false},
		{expression("[.]js$"), "GET", "/x/y.js?z", "", true},
		{expression("^/a/.*$"), "GET", "/a/b%0Ac", "", true},
		{expression("(?i)^/ABC"), "GET", "/abc", "", true},
		{expression("^/a?b=c"), "GET", "/a?b=c", "", false},

		{Config{Path: "/", Method: []string{"PUT", "POST"}}, "POST", "/", "", true},
		{Config{Path: "/", Method: []string{"PUT", "POST"}}, "GET", "/", "", false},
		{Config{Path: "/", Method: []string{"GET"}}, "HEAD", "/", "", false},

		{header("2"), "GET", "/", "x-version: 2", true},
		{header("2"), "GET", "/", "X-Version: 2\r\nX-Version: 3", true},
		{header("3"), "GET", "/", "X-Version: 2\r\nX-Version: 3", true},
		{header("2"), "GET", "/", "X-Version: 2, 3", false},
		{header("2"), "GET", "/", "X-Version:", false},
		{header("2"), "GET", "/", "X_Version: 2", true},
		{header("2"), "GET", "/", "X-Other: 2", false},
		{header("*"), "GET", "/", "X-Version:", true},
		{header("*"), "GET", "/", "X-Other: 2", false},
		{header("~^[0-9]$"), "GET", "/", "X-Version: 7", true},
		{header("~^[0-9]$"), "GET", "/", "X-Version: 17", false},
		{header("~"), "GET", "/", "X-Other: 2", false},
		{header(""), "GET", "/", "X-Version:", true},
		{Config{Path: "/", Header: map[string]string{"upgrade": "websocket", "HOST": "~^b[.]"}}, "GET", "/", "Host: b.test\r\nUpgrade: websocket", true},
		{Config{Path: "/", Header: map[string]string{"X-A": "1", "X-B": "2"}}, "GET", "/", "X-A: 1", false},

		{query("room", "7"), "GET", "/?a=b&room=7", "", true},
		{query("room", "7"), "GET", "/?room=8&room=7", "", false},
		{query("room", "7"), "GET", "/?r%6Fom=%37", "", true},
		{query("room", "7"), "GET", "/?ROOM=7", "", false},
		{query("room", "7"), "GET", "/?xroom=7", "", false},
		{query("room", "7"), "GET", "/?room=77", "", false},
		{query("my room", "a b"), "GET", "/?my+room=a%20b", "", true},
		{query("room", "a+b"), "GET", "/?room=a%2Bb", "", true},
		{query("room", "a+b"), "GET", "/?room=a+b", "", false},
		{query("room", "*"), "GET", "/?room", "", true},
		{query("room", "*"), "GET", "/?&&a", "", false},
		{query("room", ""), "GET", "/?room=", "", true},
		{query("room", "100%"), "GET", "/?room=100%", "", true},
		{query("room", "%g0"), "GET", "/?room=%g0", "", true},
		{query("room", "~^a b$"), "GET", "/?room=a+%62", "", true},
		{query("room", "~^a.$"), "GET", "/?room=a%0a", "", true},
		{query("room", "~^a$"), "GET", "/?room=a", "", true},
		{query("room", "~^a$"), "GET", "/?room=b", "", false},
		{query("room", "7"), "GET", "/room=7", "", false},
		{query("room", "7"), "GET", "/?a;room=7", "", false},
	} {
		var lines []string
		if test.line != "" {
			lines = append(lines, test.line)
		}
		conditions := newConditions(&test.config)
		if got := conditions.Matches("public", parsed(t, test.method, test.target, lines...)); got != test.isMet {
			t.Errorf("%s: %s %s, %q: %v, want %v", test.config.Title(), test.method, test.target, test.line, got, test.isMet)
		}
	}
}

func TestTheNameOfARouteIsWhatIsConfiguredOrItsConditions(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{Path: "/"}, "/"},
		{Config{Host: "Example.com", Path: "/chat/"}, "Example.com/chat"},
		{Config{Hosts: []string{"*.example.com"}, Path: "/"}, "*.example.com/"},
		{Config{Name: "chat", Host: "example.com", Path: "/"}, "chat"},
		{Config{Host: "a", Hosts: []string{"b", "c.*"}, Path: "/chat/"}, "a,b,c.*/chat"},
		{Config{Host: "a", Path: "/", PathExact: "/x/"}, "a=/x/"},
		{Config{Host: "a", Path: "/", PathRegexp: "^/v[0-9]+"}, "a~^/v[0-9]+"},
		{
			Config{Path: "/a", Method: []string{"GET", "PUT"}, Header: map[string]string{"x-b": "~^1", "X-A": "1 2"}, Query: map[string]string{"room": "*", "a": ""}},
			`/a GET,PUT X-A="1 2" X-B=~^1 ?a= ?room=*`,
		},
		{
			Config{Path: "/", Header: map[string]string{"authorization": "Bearer 1", "X-Api-Key": "~1"}, Query: map[string]string{"Token": "1"}},
			"/ Authorization=… X-Api-Key=… ?Token=…",
		},
	} {
		if got := test.config.Title(); got != test.want {
			t.Errorf("%+v is named %q, want %q", test.config, got, test.want)
		}
	}
}

func TestALongNameIsCutAndStaysUnique(t *testing.T) {
	names := map[string]bool{}
	for i := range 10 {
		c := Config{Path: "/", Query: map[string]string{"long": strings.Repeat("é", 500) + fmt.Sprint(i)}}
		name := c.Title()
		if len(name) > mostNameBytes+11 || names[name] || !strings.HasPrefix(name, "/ ?long=éé") {
			t.Errorf("name %q", name)
		}
		names[name] = true
	}
}

func TestAKeyIsOfTheConditionsInAnyOrder(t *testing.T) {
	base := func() Config {
		return Config{
			Listener: "l", Hosts: []string{"a.test", "b.test"}, Path: "/", PathExact: "/x", Method: []string{"GET", "PUT"},
			Header: map[string]string{"X-A": "1"}, Query: map[string]string{"q": "2"},
		}
	}
	for name, change := range map[string]func(c *Config){
		"nothing":      func(*Config) {},
		"the hosts":    func(c *Config) { c.Host, c.Hosts = "B.test", []string{"A.test"} },
		"the methods":  func(c *Config) { c.Method = []string{"PUT", "GET"} },
		"a name":       func(c *Config) { c.Header = map[string]string{"x-a": "1"} },
		"an underline": func(c *Config) { c.Header = map[string]string{"X_A": "1"} },
		"the priority": func(c *Config) { c.Priority = 1 },
		"its name":     func(c *Config) { c.Name = "name" },
		"the pool":     func(c *Config) { c.Pool = "other" },
	} {
		a, b := base(), base()
		if change(&b); a.Key() != b.Key() {
			t.Errorf("%s makes another key", name)
		}
	}
	for name, change := range map[string]func(c *Config){
		"the listener":    func(c *Config) { c.Listener = "" },
		"a host":          func(c *Config) { c.Hosts = c.Hosts[:1] },
		"the path":        func(c *Config) { c.PathExact = "/y" },
		"the kind":        func(c *Config) { c.PathExact, c.PathRegexp = "", "/x" },
		"no path":         func(c *Config) { c.PathExact = "" },
		"a method":        func(c *Config) { c.Method = c.Method[:1] },
		"a field":         func(c *Config) { c.Header["X-B"] = "1" },
		"a field's value": func(c *Config) { c.Header["X-A"] = "2" },
		"its place":       func(c *Config) { c.Header, c.Query = c.Query, c.Header },
		"no parameter":    func(c *Config) { c.Query = nil },
	} {
		a, b := base(), base()
		if change(&b); a.Key() == b.Key() {
			t.Errorf("%s makes no other key", name)
		}
	}
	if c := (Config{Listener: "l", Host: "*.Example.com", Path: "/a/"}); c.Key() != KeyOf("l", ".example.com", "/a") {
		t.Error("the key of a route with one host and a prefix is not that of these")
	}
}
