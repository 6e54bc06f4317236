package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/balancer"
	"sluice/upgrade"
)

// tableOf returns the table of the sections, whose names are "0", "1" and so on, and their routes.
func tableOf(sections []Config) (Table, []*Route) {
	var all []*Route
	for i := range sections {
		c := &sections[i]
		c.Name, c.EncodedSlashes, c.PathParameters = strconv.Itoa(i), "auto", "auto"
		if c.Path == "" {
			c.Path = "/"
		}
		all = append(all, New(c, &balancer.Config{}, nil))
	}
	return NewTable(all), all
}

// The order is that of the Kubernetes Gateway API, after the priority.
func TestTheMoreExactRouteIsTriedFirst(t *testing.T) {
	one := map[string]string{"X-A": "*"}
	two := map[string]string{"X-A": "*", "X-B": "*"}
	sections := []Config{ // each before the next one
		{Priority: 2},
		{Priority: 1, Host: "a.b.test"},
		{Host: "a.b.test", PathExact: "/x/y"},
		{Host: "a.b.test", Path: "/x/y/z"},
		{Host: "a.b.test", Path: "/x/y", Listener: "public", Query: one},
		{Host: "a.b.test", Path: "/x/y", Listener: "public"},
		{Host: "a.b.test", Path: "/x/y", Method: []string{"GET"}},
		{Host: "a.b.test", Path: "/x/y", Header: two},
		{Host: "a.b.test", Path: "/x/y", Header: one, Query: two},
		{Host: "a.b.test", Path: "/x/y", Header: one, Query: one},
		{Host: "a.b.test", Path: "/x/y", Header: one},
		{Host: "a.b.test", Path: "/x/y", Query: two},
		{Host: "a.b.test", Path: "/x/y"},
		{Host: "a.b.test", Path: "/x"},
		{Host: "a.b.test"},
		{Host: "a.b.test", PathRegexp: "/x", Header: one},
		{Host: "a.b.test", PathRegexp: "/x"},
		{Host: "a.b.test", PathRegexp: "/x/y/z/longer"}, // the order in the file decides
		{Host: "*.b.test", PathExact: "/x/y"},
		{Host: "*.b.test"},
		{Host: "*.test", PathExact: "/x/y"},
		{Host: "*.test"},
		{Host: "a.b.*"},
		{Host: "a.*", PathExact: "/x/y"},
		{Host: "a.*"},
		{PathExact: "/x/y"},
		{Path: "/x"},
		{},
		{PathRegexp: "/"},
		{Priority: -1, Host: "a.b.test", PathExact: "/x/y"},
	}
	reversed := slices.Clone(sections)
	slices.Reverse(reversed)
	reversed[12], reversed[13] = reversed[13], reversed[12]
	table, _ := tableOf(reversed)
	for i, r := range table.Routes {
		want := sections[i]
		if want.Path == "" {
			want.Path = "/"
		}
		if r.Key() != want.Key() || r.Priority != want.Priority {
			got := *r.Config
			got.Name = ""
			t.Errorf("place %d has %s, want %s", i, got.Title(), want.Title())
		}
	}
}

func TestARouteOfAWildcardIsTriedIfNoneOfTheExactHostMatches(t *testing.T) {
	table, _ := tableOf([]Config{
		{Host: "a.b.test", Path: "/x"},
		{Host: "*.b.test", PathExact: "/y"},
		{Host: "*.test", PathRegexp: "^/z"},
		{Host: "a.*", Path: "/v", Method: []string{"PUT"}},
		{Path: "/"},
	})
	for target, want := range map[string]string{"/x/1": "0", "/y": "1", "/z1": "2", "/v": "4", "/w": "4"} {
		req := parsed(t, "GET", target, "Host: a.b.test")
		if got := table.Find("public", req, req.Path()); got.Name != want {
			t.Errorf("%s goes to route %s, want %s", target, got.Name, want)
		}
	}
}

// matchedInOrder does what Table.Find does, one route after the other.
func matchedInOrder(all []*Route, listener string, req *upgrade.Request) *Route {
	host := canonicalHost(string(req.Hostname()))
	for _, p := range newPlaces(all) {
		isHost := p.host == "" || matchesHost(p.host, host)
		if isHost && p.route.MatchesPath(req.Path()) && p.route.matchesRest(&ask{listener: listener, req: req}) {
			return p.route
		}
	}
	return nil
}

func TestTheIndexFindsWhatTheOrderedListDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	hosts := []string{"a.b.test", "b.test", "*.b.test", "*.test", "a.*", "a.b.*", "x", "*.x", "x.*", "[::1]"}
	paths := []string{"/", "/a", "/a/b", "/a/b/c", "/ab", "/a/", "/b"}
	expressions := []string{"^/a", "b$", "^/a/b", "(?i)^/A", "c", "^/"}
	values := func(names ...string) map[string]string {
		all := map[string]string{}
		for _, name := range names {
			if random.IntN(4) == 0 {
				all[name] = pick("1", "2", "*", "~^[12]$", "~2")
			}
		}
		return all
	}
	for range 300 {
		var sections []Config
		for range 1 + random.IntN(40) {
			c := Config{Listener: pick("", "", "public", "other"), Path: "/", Priority: random.IntN(2), Header: values("X-A", "X-B"), Query: values("p", "q")}
			random.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
			c.Hosts = slices.Clone(hosts[:random.IntN(3)])
			switch random.IntN(4) {
			case 0:
				c.PathExact = pick(paths...)
			case 1:
				c.PathRegexp = pick(expressions...)
			default:
				c.Path = pick(paths...)
			}
			if random.IntN(3) == 0 {
				c.Method = []string{pick("GET", "PUT")}
			}
			sections = append(sections, c)
		}
		table, all := tableOf(sections)
		for range 100 {
			target := pick(append(paths, "/a/b/c/d", "/A", "//a//b", "/a%2fb", "/%61")...) + pick("", "?p=1", "?q=2", "?p=%32&q=1")
			host := pick("a.b.test", "b.test", "c.b.test", "x", "a.x", "x.y", "none", "[::1]:80", "[0::1]")
			req := parsed(t, pick("GET", "PUT"), target, "Host: "+host, pick("X-A: 1", "X-A: 2", "X-A: 3\r\nX-A: 1", "X-C: 1"), pick("X-B: 2", "X-B: 3"))
			listener := pick("public", "other", "third")
			got, want := table.Find(listener, req, req.Path()), matchedInOrder(all, listener, req)
			if got != want {
				t.Fatalf("%s, Host %s: got %s, want %s", target, host, name(got), name(want))
			}
		}
	}
}

// name returns the name and the conditions of a route, which may be nil.
func name(r *Route) string {
	if r == nil {
		return "none"
	}
	return r.Name + " " + r.Listener + " " + r.Config.describe(r.Config.allHosts(), &r.Conditions)
}

// manyRoutes returns n routes of all kinds but expressions. The last one has host "last.test", path "/api/v1/last", a method, and a field.
func manyRoutes(n int) (sections []Config) {
	for i := range n - 1 {
		c := Config{Host: fmt.Sprintf("h%d.test", i%100), Path: fmt.Sprintf("/api/v1/p%d", i)}
		switch i % 8 {
		case 1:
			c.Host = fmt.Sprintf("*.w%d.test", i)
		case 2:
			c.Host = fmt.Sprintf("app%d.*", i)
		case 3:
			c.Host = ""
		case 4:
			c.Path, c.PathExact = "", c.Path
		case 5:
			c.Method = []string{"PUT", "POST"}
		case 6:
			c.Host, c.Path, c.Header = "last.test", "/api/v1/last", map[string]string{"X-Tenant": fmt.Sprint("t", i)}
			c.Hosts = []string{fmt.Sprintf("also%d.test", i)}
			if i%64 != 6 {
				c.Host, c.Hosts = c.Hosts[0], nil
			}
		case 7:
			c.Host, c.Path, c.Query = "last.test", fmt.Sprintf("/api/v1/q%d", i), map[string]string{"room": strconv.Itoa(i)}
		}
		sections = append(sections, c)
	}
	return append(sections, Config{Host: "last.test", Path: "/api/v1/last", Method: []string{"GET"}, Header: map[string]string{"X-Tenant": "last"}, Priority: -1})
}

// request of a browser for the last route.
var lastRequest = []string{
	"Host: last.test", "User-Agent: Mozilla/5.0", "Accept: */*", "Accept-Language: en", "Accept-Encoding: gzip", "Origin: https://last.test", "Connection: Upgrade",
	"Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "X-Tenant: last",
}

// BenchmarkFind finds the last one of many routes. It doesn't parse the request.
func BenchmarkFind(b *testing.B) {
	anchored, floating, tenants := []Config{}, []Config{}, []Config{}
	for i := range 1000 {
		tenants = append(tenants, Config{Header: map[string]string{"X-Tenant": strings.Replace(fmt.Sprint("t", i), "t999", "last", 1)}})
		anchored = append(anchored, Config{PathRegexp: fmt.Sprintf("^/api/v1/p%d/[0-9]+$", i)})
		floating = append(floating, Config{PathRegexp: fmt.Sprintf("/p%d/[0-9]+$", i)})
	}
	for _, test := range []struct {
		name     string
		sections []Config
		target   string
	}{
		{"one", []Config{{}}, "/api/v1/last/x"},
		{"200 of all kinds", manyRoutes(200), "/api/v1/last/x"},
		{"1000 of all kinds", manyRoutes(1000), "/api/v1/last/x"},
		{"1000 values of a field", tenants, "/"},
		{"1000 expressions that begin with ^", anchored, "/api/v1/p999/1"},
		{"1000 other expressions", floating, "/api/v1/p999/1"},
	} {
		table, all := tableOf(test.sections)
		req := parsed(b, "GET", test.target+"?room=7", lastRequest...)
		b.Run(strings.ReplaceAll(test.name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if table.Find("public", req, req.Path()) != all[len(all)-1] {
					b.Fatal("another route")
				}
			}
		})
	}
}
