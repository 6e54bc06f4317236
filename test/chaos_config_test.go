//go:build unix

package test

import (
	"fmt"
	"strings"
)

// chaosSite is what all configurations of a run refer to: files, and the addresses of backends.
type chaosSite struct {
	driver      string
	directory   string // of Unix sockets
	collector   string // URL that traces are sent to
	certificate [3]pair
	authority   string // PEM file of the authority that signed all certificates
	tickets     string // file of ticket keys
	steady      string // address of a backend that always behaves
	backends    []string
	named       string // port of the backend at the address that the name server gives
	nameserver  string
}

// listenersAlways are the listeners that every configuration has, with different keys.
var listenersAlways = []string{"plain", "secure", "proxied", "unix", "limited"}

// chaosLimit is the most sessions of the listener "limited", and clientLimit the most of one address there. No configuration changes
// them, so that a place that is not given back is missing at the end.
const (
	chaosLimit  = 24
	clientLimit = 6
)

// process is the beginning of every configuration: the keys that only a restart changes.
func (s *chaosSite) process() string {
	return fmt.Sprintf(`[admin]
address = "127.0.0.1:0"
pprof = true
[tracing]
endpoint = %q
sample = 0.1
[gateway]
workers = 2
driver = %q
`, s.collector, s.driver)
}

const logSection = "[log]\naccess = \"both\"\naccess_query = true\nlevel = "

// calm is a plain configuration, with the most sessions of the gateway and of each listener but "limited"; 0 means no limit.
func (s *chaosSite) calm(gatewaySessions, maxSessions int) string {
	text := s.process() + fmt.Sprintf("drain = \"0s\"\non_removed = \"drain\"\nmax_sessions = %d\n", gatewaySessions) + logSection + "\"info\"\n"
	for _, name := range listenersAlways {
		text += s.listener(name)
		if name != "limited" {
			text += fmt.Sprintf("max_sessions = %d\n", maxSessions)
		}
		switch name {
		case "proxied":
			text += "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.0/8\"]\n"
		case "secure":
			text += section("", s.certificate[0])
		}
	}
	// A pool of its own: a drained backend stays drained as long as its pool has the same name.
	return text + fmt.Sprintf("[[route]]\npool = \"calm\"\n[[pool]]\nname = \"calm\"\nbackend = [{ address = %q }]\n", s.steady)
}

// listener begins the section of a listener. A reload keeps its socket, which it finds by name or path.
func (s *chaosSite) listener(name string) string {
	address := "127.0.0.1:0"
	if name == "unix" {
		address = "unix:" + s.directory + "/listener.sock"
	}
	text := fmt.Sprintf("[[listener]]\nname = %q\naddress = %q\n", name, address)
	if name == "limited" {
		text += fmt.Sprintf("max_sessions = %d\nmax_sessions_per_ip = %d\n", chaosLimit, clientLimit)
	}
	return text
}

// any returns a random valid configuration.
func (s *chaosSite) any(d dice) string {
	w := &configWriter{dice: d}
	w.WriteString(s.process())
	fmt.Fprintf(w, "drain = %q\n", w.time("0s", "200ms", "1s")) // the default of 30s would outlast the traffic
	w.key(`drain_delay = "%s"`, w.time("0s", "1s"))
	w.key("max_sessions = %d", one(d, 0, 10, 1000))
	w.key(`on_removed = "%s"`, one(d, "keep", "drain"))
	w.WriteString(logSection + fmt.Sprintf("%q\n", one(d, "debug", "info", "warn", "error")))
	names := append(listenersAlways[:len(listenersAlways):len(listenersAlways)], some(d, 2, "extra", "more")...)
	routable := []string{"", "limited"}
	for _, name := range names {
		w.WriteString(s.listener(name))
		if name != "limited" && !s.listenerKeys(w, name) {
			routable = append(routable, name)
		}
	}
	pools := some(d, 4, "pool", "other", "third", "fourth")
	if len(pools) == 0 {
		pools = []string{"pool"}
	}
	s.routes(w, routable, pools)
	for _, name := range pools {
		fmt.Fprintf(w, "[[pool]]\nname = %q\n", name)
		s.poolKeys(w)
	}
	return w.String()
}

// A configWriter writes the text of a configuration. It sets most keys only now and then.
type configWriter struct {
	strings.Builder
	dice
}

// key writes a line in one of three cases, and otherwise leaves the key to its default.
func (w *configWriter) key(format string, value any) {
	if w.oneIn(3) {
		fmt.Fprintf(w, format+"\n", value)
	}
}

// flag sets a key to true with a probability of one in n, and reports whether it did.
func (w *configWriter) flag(key string, n int) (isSet bool) {
	if isSet = w.oneIn(n); isSet {
		w.WriteString(key + " = true\n")
	}
	return isSet
}

func (w *configWriter) time(of ...string) string { return one(w.dice, of...) }

// list writes a key with at most most of the values, unless it draws none.
func list[T any](w *configWriter, key string, most int, of ...T) {
	var items []string
	for _, v := range some(w.dice, most, of...) {
		if text, isText := any(v).(string); isText {
			items = append(items, fmt.Sprintf("%q", text))
			continue
		}
		items = append(items, fmt.Sprint(v))
	}
	if len(items) > 0 {
		fmt.Fprintf(w, "%s = [%s]\n", key, strings.Join(items, ", "))
	}
}

// listenerKeys writes the keys of a listener, and reports whether it redirects every request: no route may name it then.
func (s *chaosSite) listenerKeys(w *configWriter, name string) (redirects bool) {
	w.key(`head_timeout = "%s"`, w.time("100ms", "1s", "10s"))
	w.key("max_sessions = %d", one(w.dice, 0, 2, 10, 100))
	w.key("max_handshakes = %d", one(w.dice, 0, 2, 20, 4096))
	w.key("max_connections = %d", one(w.dice, 0, 5, 50, 4096))
	w.key("max_sessions_per_ip = %d", one(w.dice, 0, 2, 8))
	w.key("handshake_rate = %d", one(w.dice, 0, 5, 100, 1000))
	w.key("handshake_burst = %d", one(w.dice, 0, 1, 20))
	switch {
	case name != "unix" && w.oneIn(map[bool]int{true: 1, false: 8}[name == "proxied"]):
		fmt.Fprintf(w, "proxy_protocol = true\n%s = [\"127.0.0.0/8\"]\n", one(w.dice, "trusted_proxies", "proxy_protocol_from"))
	case w.oneIn(3):
		list(w, "trusted_proxies", 3, "127.0.0.0/8", "127.0.0.1", "::1", "::/0", "192.0.2.0/24")
	}
	isSecure := name == "secure" && !w.oneIn(8) || w.oneIn(8)
	if !isSecure {
		return w.flag("redirect_https", 20)
	}
	w.WriteString("[listener.tls]\n")
	if w.oneIn(3) {
		w.WriteString("self_signed = true\n")
	} else {
		var pairs []string
		for _, p := range s.certificate[:w.between(1, len(s.certificate))] {
			pairs = append(pairs, fmt.Sprintf("{ cert = %q, key = %q }", p.cert, p.key))
		}
		fmt.Fprintf(w, "certificate = [%s]\n", strings.Join(pairs, ", "))
	}
	w.key(`min_version = "%s"`, w.time("1.2", "1.3"))
	if auth := one(w.dice, "", "", "", "none", "request", "require"); auth != "" {
		fmt.Fprintf(w, "client_auth = %q\n", auth)
		if auth != "none" {
			fmt.Fprintf(w, "client_ca = %q\n", s.authority)
		}
	}
	w.key("max_handshakes = %d", one(w.dice, 0, 1, 4))
	w.key(`watch_interval = "%s"`, w.time("100ms", "1m"))
	if w.oneIn(3) {
		w.WriteString("[listener.tls.tickets]\n")
		w.key("key_file = %q", s.tickets)
		w.key(`rotate = "%s"`, w.time("100ms", "12h"))
	}
	return false
}

// routes writes routes that differ from each other in their conditions.
func (s *chaosSite) routes(w *configWriter, listeners, pools []string) {
	taken := map[string]bool{}
	if !w.oneIn(8) { // most requests find a route
		taken[conditionsOf("", "", prefixCondition("/"))] = true
		fmt.Fprintf(w, "[[route]]\npool = %q\n", one(w.dice, pools...))
		s.routeKeys(w, "/")
	}
	for i := w.between(1, 8); i > 0; i-- {
		listener, host := one(w.dice, append(listeners, "", "")...), ""
		if w.oneIn(2) {
			host = one(w.dice, append(chaosHosts[:len(chaosHosts):len(chaosHosts)], "*.gateway.test", "*.test", "A.Gateway.test", "gateway.*", "a.*")...)
		}
		path := one(w.dice, chaosPaths...)
		condition := prefixCondition(path)
		switch {
		case w.oneIn(5):
			condition = fmt.Sprintf("path_exact = %q\n", path)
		case w.oneIn(5):
			path, condition = "", fmt.Sprintf("path_regexp = %q\n", one(w.dice, "^/chat/room/([0-9]+)$", "^/(chat|a)(/.*)?$", "room", "(?i)^/CHAT", "^/[^a]"))
		}
		conditions := conditionsOf(listener, host, condition) + w.moreConditions()
		if taken[strings.ToLower(conditions)] {
			continue
		}
		taken[strings.ToLower(conditions)] = true
		if path != "/" && w.oneIn(4) { // means the same
			conditions = strings.Replace(conditions, prefixCondition(path), prefixCondition(path+"/"), 1)
		}
		fmt.Fprintf(w, "[[route]]\n%s", conditions)
		if w.oneIn(4) {
			fmt.Fprintf(w, "name = \"route %d\"\n", i)
		}
		w.key("priority = %d", one(w.dice, 0, 1, -1))
		w.end(pools)
		s.routeKeys(w, path)
	}
	if len(taken) == 0 {
		fmt.Fprintf(w, "[[route]]\npool = %q\n", pools[0])
	}
}

func prefixCondition(path string) string { return fmt.Sprintf("path = %q\n", path) }

// conditionsOf returns the conditions of a route. path is the line of one that concerns the path.
func conditionsOf(listener, host, path string) string {
	text := fmt.Sprintf("listener = %q\n", listener) + path
	if host != "" {
		text += fmt.Sprintf("hosts = [%q]\n", host)
	}
	return text
}

// moreConditions returns conditions that only some requests meet, now and then.
func (w *configWriter) moreConditions() (text string) {
	if w.oneIn(6) {
		text += "method = " + one(w.dice, `["GET"]`, `["GET", "POST"]`, `["HEAD", "PUT"]`) + "\n"
	}
	if w.oneIn(6) {
		text += "header = " + one(w.dice, `{ X-Room = "*" }`, `{ X-Room = "~^[a-m]" }`, `{ X-Forwarded-Proto = "https" }`, `{ Cookie = "~sluice=", X-Team = "~." }`) + "\n"
	}
	if w.oneIn(6) {
		text += "query = " + one(w.dice, `{ room = "1" }`, `{ room = "~^.$", a = "*" }`, `{ token = "" }`) + "\n"
	}
	return text
}

// end writes where the requests of a route go.
func (w *configWriter) end(pools []string) {
	switch {
	case w.oneIn(12):
		fmt.Fprintf(w, "redirect = %q\n", one(w.dice, "https://{host}{uri}", "/chat{path}", "{scheme}://{hostport}/?{query}", "http://elsewhere.test/{request_id}"))
		w.key("redirect_status = %d", one(w.dice, 301, 302, 303, 307, 308))
	case w.oneIn(12):
		fmt.Fprintf(w, "respond = %s\n", one(w.dice, "{ status = 204 }", "{ status = 403 }", "{ status = 503, body = \"{uri} {client_ip} {route}\" }", "{ body = \"ok\" }"))
	case w.oneIn(5):
		shares := []string{fmt.Sprintf("{ pool = %q, weight = %d }", pools[0], w.between(1, 100))}
		for _, name := range some(w.dice, 3, pools[1:]...) {
			shares = append(shares, fmt.Sprintf("{ pool = %q, weight = %d }", name, w.between(0, 5)))
		}
		fmt.Fprintf(w, "pools = [%s]\n", strings.Join(shares, ", "))
	default:
		fmt.Fprintf(w, "pool = %q\n", one(w.dice, pools...))
	}
}

// routeKeys writes the other keys of a route. path is "" if the route has an expression.
func (s *chaosSite) routeKeys(w *configWriter, path string) {
	if w.oneIn(6) {
		list(w, "allow", 2, "127.0.0.0/8", "::1", "10.0.0.0/8", "192.0.2.0/24")
	}
	if w.oneIn(6) {
		list(w, "deny", 1, "127.0.0.1", "192.0.2.9", "10.0.0.0/16")
	}
	if w.oneIn(3) {
		list(w, "origins", 4, "https://example.com", "https://*.example.com", "https://*", "http://*", "https://*:8443", "https://*.example.com:8443", "same",
			"http://localhost:3000", "https://[::1]", "HTTPS://EXAMPLE.com", "custom-scheme://host", "https://x.gateway.test:443")
	}
	if w.oneIn(6) {
		w.WriteString("http = false\n")
	}
	switch {
	case path == "" && w.oneIn(2):
		fmt.Fprintf(w, "rewrite_path = %q\n", one(w.dice, "/chat$0", "/a/b", "/$$"))
	case path != "" && w.oneIn(6):
		fmt.Fprintf(w, "rewrite_path = %q\n", one(w.dice, "/", "/v1", "/%C3%BC/"))
	case path != "" && path != "/" && w.oneIn(3):
		segments := strings.Split(strings.Trim(path, "/"), "/")
		fmt.Fprintf(w, "strip_prefix = %q\n", "/"+strings.Join(segments[:w.between(1, len(segments))], "/")+one(w.dice, "", "/"))
		w.flag("rewrite_location", 2)
	}
	w.key("host_header = %q", one(w.dice, "backend", "inner.test", "inner.test:8080"))
	if w.oneIn(4) {
		fields := some(w.dice, 3, `"Set-Cookie" = "a=b"`, `"Content-Type" = "text/ours"`, `"X-Back" = "{uri} {client_ip} {subject}"`, `"X-None" = "{sni}"`, `"Server" = "{{"`)
		fmt.Fprintf(w, "response_header = { %s }\n", strings.Join(append(fields, `"X-Route" = "{route}"`), ", "))
		list(w, "remove_response_header", 3, "Date", "ETag", "Location", "X-Steady")
	}
	if w.oneIn(4) {
		fields := some(w.dice, 3, `"X-Team" = "chat"`, `"X-Request-Id" = ""`, `"Cookie" = "a=b"`, `"Origin" = "https://inner.test"`,
			`"X_Under" = "ü"`, `"User-Agent" = "sluice"`, `"X-From" = "{client_ip} {method} {path}?{query} {tls_version}{sni}"`)
		fmt.Fprintf(w, "request_header = { %s }\n", strings.Join(append(fields, `"X-Way" = "1"`), ", "))
	} else if w.oneIn(3) {
		list(w, "remove_header", 4, "X-Debug", "Cookie", "Origin", "user-agent", "X_Forwarded_For", "X-Forwarded-Proto", "x-request-id", "Authorization")
	}
	w.key(`encoded_slashes = "%s"`, one(w.dice, "auto", "refuse", "pass"))
	w.key(`path_parameters = "%s"`, one(w.dice, "auto", "pass"))
	w.key(`ping = "%s"`, one(w.dice, "answer", "forward"))
	w.key(`ping_interval = "%s"`, w.time("0s", "20ms", "200ms", "30s"))
	w.key(`pong_timeout = "%s"`, w.time("20ms", "500ms", "10s"))
	w.key(`idle_timeout = "%s"`, w.time("0s", "50ms", "500ms", "10s"))
	w.key(`close_timeout = "%s"`, w.time("10ms", "200ms", "1s", "5s"))
	w.key(`write_timeout = "%s"`, w.time("50ms", "500ms", "3s", "60s"))
	w.key(`connect_timeout = "%s"`, w.time("10ms", "500ms", "3s"))
	w.key(`handshake_timeout = "%s"`, w.time("10ms", "200ms", "1s", "10s"))
	w.key(`response_timeout = "%s"`, w.time("10ms", "200ms", "2s"))
	w.key(`max_frame = "%s"`, one(w.dice, "0", "125", "65535", "128KiB", "16MiB"))
	w.key(`max_message = "%s"`, one(w.dice, "0", "1000", "100KiB", "1MiB", "64MiB"))
	if w.oneIn(4) {
		w.WriteString("[route.close_codes]\n")
		for _, key := range []string{"drained", "backend_lost", "client_lost"} {
			w.key(key+" = %d", one(w.dice, 1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4999))
		}
	}
}
