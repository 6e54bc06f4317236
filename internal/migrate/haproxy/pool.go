package haproxy

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// pool makes a pool of the servers of a backend. Without any it has none.
func (r *reader) pool(s *section) {
	pool := &migrate.Section{From: s.Place}
	pool.Set("name", s.name, s.Place)
	pool.SetNote("policy", "round_robin", s.Place, "HAProxy's; without it least_conn, which suits sessions better")
	var servers []*line
	var defaults []string
	var checked *line
	for _, l := range s.all() {
		switch l.words[0] {
		case "server", "server-template":
			servers = append(servers, l)
		case "default-server":
			defaults = append(defaults, l.words[1:]...)
			r.note(l, l.text(), "part of each server line after it")
		}
	}
	if len(servers) == 0 {
		return
	}
	var backends []any
	var from migrate.Place
	for _, l := range servers {
		backend := r.server(pool, l, defaults)
		if backend == nil {
			continue
		}
		if backends == nil {
			from = l.Place
		}
		backends = append(backends, backend)
		if l.has("check") || slices.Contains(defaults, "check") && !l.has("no-check") {
			checked = l
		}
	}
	if backends == nil {
		return
	}
	pool.Set("backend", backends, from)
	r.poolKeys(pool, s)
	if checked != nil {
		r.health(pool, s, checked, defaults)
	}
	r.pools[s.name] = pool
	r.draft.Pools = append(r.draft.Pools, pool)
}

// server returns a backend of a server line, or nil if it can't be one.
func (r *reader) server(pool *migrate.Section, l *line, defaults []string) migrate.Inline {
	l.isUsed = true
	words := l.words
	if words[0] == "server-template" && len(words) > 3 { // prefix, number, address
		words = words[1:]
		kind := "a"
		if strings.HasPrefix(words[2], "_") {
			kind = "srv"
		}
		pool.Set("discovery.dns", kind, l.Place)
		r.noteIn(pool, l, l.text(), "as many backends as the name has addresses")
	}
	if len(words) < 3 {
		r.noteIn(pool, l, l.text(), "no address")
		return nil
	}
	address, err := serverAddress(words[2], pool.Get("discovery.dns") == "srv")
	if err != "" {
		r.noteIn(pool, l, l.text(), err)
		return nil
	}
	backend := migrate.Inline{{Name: "address", Value: migrate.Text(address), From: l.Place}}
	options := append(slices.Clone(defaults), words[3:]...)
	for i := 0; i < len(options); i++ {
		value := ""
		if i+1 < len(options) {
			value = options[i+1]
		}
		number, isNumber := count(value)
		switch option := options[i]; option {
		case "disabled":
			r.noteIn(pool, l, l.text(), "disabled")
			return nil
		case "weight":
			i++
			if number == 0 && isNumber == nil {
				r.noteIn(pool, l, l.text(), "weight 0 takes no new sessions")
				return nil
			}
			backend = append(backend, migrate.Key{Name: "weight", Value: number, From: l.Place})
		case "backup":
			backend = append(backend, migrate.Key{Name: "backup", Value: true, From: l.Place})
		case "maxconn":
			i++
			backend = append(backend, migrate.Key{Name: "max_sessions", Value: number, From: l.Place})
		case "ssl":
			backend[0].Value = migrate.Text("wss://" + address)
		case "verify":
			i++
			if value == "none" && slices.Contains(options, "ssl") {
				pool.SetNote("tls.insecure", true, l.Place, "verify none: an attacker on the path can read and change the traffic")
			}
		case "ca-file":
			i++
			pool.Set("tls.ca", migrate.Text(value), l.Place)
		case "crt":
			i++
			pool.Set("tls.cert", migrate.Text(value), l.Place)
			pool.Set("tls.key", migrate.Text(value), l.Place)
		case "sni", "verifyhost":
			i++
			if name := fixedName.FindStringSubmatch(value); name != nil {
				pool.Set("tls.server_name", name[1], l.Place)
			} else {
				r.noteIn(pool, l, option+" "+value, "the name is a fixed one: tls.server_name")
			}
		case "send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn":
			pool.Set("send_proxy", true, l.Place)
		case "slowstart":
			i++
			if d, err := duration(value); err == nil {
				pool.Set("slow_start", d, l.Place)
			}
		case "proto", "check-proto":
			i++
			if value == "h2" && option == "proto" {
				pool.Set("protocol", "h2", l.Place)
			}
		case "check", "no-check", "check-ssl", "inter", "fastinter", "downinter", "rise", "fall", "port", "addr", "check-sni", "check-alpn", "error-limit":
			if option == "port" || option == "addr" {
				r.noteIn(pool, l, option+" "+value, "a check goes to the backend's own address")
			}
			if !strings.Contains(option, "check") || option == "check-sni" || option == "check-alpn" {
				i++
			}
		case "cookie", "init-addr", "resolvers", "resolve-prefer", "resolve-opts", "resolve-net", "id", "maxqueue", "minconn", "pool-max-conn", "pool-purge-delay", "pool-low-conn", "alpn", "ssl-min-ver",
			"namespace", "source", "observe", "on-error", "on-marked-down", "on-marked-up", "track", "ciphers", "force-tlsv12", "redir", "log-proto", "ws", "tcp-ut", "sigalgs", "curves":
			i++
			if why := serverReasons[option]; why != "" {
				r.noteIn(pool, l, option+" "+value, why)
			}
		default:
			r.noteIn(pool, l, option, "Sluice has no such setting")
		}
	}
	return backend
}

// fixedName matches an expression that is one name.
var fixedName = regexp.MustCompile(`^(?:str\()?([A-Za-z0-9.-]+)\)?$`)

// serverReasons say of options of a server why they aren't carried over.
var serverReasons = map[string]string{
	"cookie":           "not needed: the cookie of the policy sticky has no name of a backend",
	"resolvers":        "names are looked up by each dial; [pool.discovery] has a DNS server",
	"observe":          "[pool.ejection] ejects a backend whose sessions fail",
	"on-error":         "[pool.ejection] ejects a backend whose sessions fail",
	"on-marked-down":   "sessions of a backend that is down end when it does",
	"track":            "each pool checks for itself",
	"maxqueue":         "[[pool]] queue",
	"minconn":          "max_sessions",
	"source":           "the system chooses the address",
	"redir":            "a route with redirect",
	"alpn":             "protocol = \"h2\"",
	"ws":               "protocol",
	"on-marked-up":     "[pool.rebalance]",
	"namespace":        "Sluice has no such setting",
	"force-tlsv12":     "Sluice has no such setting",
	"ciphers":          "not needed: Go chooses the cipher suites",
	"pool-max-conn":    "not needed",
	"pool-purge-delay": "not needed",
	"pool-low-conn":    "not needed",
}

// serverAddress returns the address of a backend, or why there is none.
func serverAddress(text string, isService bool) (address, why string) {
	for _, prefix := range []string{"ipv4@", "ipv6@", "tcp@", "unix@"} {
		text = strings.TrimPrefix(text, prefix)
	}
	switch {
	case strings.Contains(text, "@"):
		return "", "no address that can be connected to"
	case strings.HasPrefix(text, "/"):
		return "unix:" + text, ""
	case isService:
		return text, ""
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 || strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		return "", "no port: HAProxy takes the one that the client has connected to. Write it here"
	}
	host, port := text[:i], text[i+1:]
	if strings.HasPrefix(port, "+") || strings.HasPrefix(port, "-") {
		return "", "a port relative to the client's: write it here"
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") && !strings.Contains(host, "$") {
		host = "[" + host + "]"
	}
	return host + ":" + port, ""
}

// poolKeys sets the keys of a pool that the other lines of its backend mean.
func (r *reader) poolKeys(pool *migrate.Section, s *section) {
	for _, l := range s.all() {
		if len(l.words) < 2 {
			continue
		}
		switch l.words[0] {
		case "balance":
			r.balance(pool, l)
		case "hash-type":
			r.noteIn(pool, l, l.text(), "not needed: hashes are consistent")
		case "hash-balance-factor":
			if n, err := count(l.words[1]); err == nil && n >= 100 && n <= 10000 {
				pool.Set("hash.bounded_load", float64(n)/100, l.Place)
				l.isUsed = true
			}
		case "cookie":
			r.cookie(pool, l)
		case "stick":
			if l.words[1] == "on" && len(l.words) > 2 && l.words[2] == "src" {
				pool.SetNote("policy", "ip_hash", l.Place, "the address chooses, without a table")
				l.isUsed = true
			}
		case "retries":
			if n, err := count(l.words[1]); err == nil {
				pool.Set("retries", n, l.Place)
				l.isUsed = true
			}
		case "retry-on":
			retryOn(pool, l)
		case "timeout":
			if l.words[1] == "queue" && len(l.words) > 2 {
				if d, err := duration(l.words[2]); err == nil {
					pool.Set("queue_timeout", d, l.Place)
					l.isUsed = true
				}
			}
		}
	}
	// Both need a policy that has a key.
	if policy := pool.Get("policy"); policy != "hash" && policy != "ip_hash" {
		pool.Keys = slices.DeleteFunc(pool.Keys, func(k migrate.Key) bool { return strings.HasPrefix(k.Name, "hash.") })
	} else if policy == "ip_hash" {
		pool.Keys = slices.DeleteFunc(pool.Keys, func(k migrate.Key) bool {
			return strings.HasPrefix(k.Name, "hash.") && k.Name != "hash.bounded_load"
		})
	}
}

// balance sets the policy of a pool.
func (r *reader) balance(pool *migrate.Section, l *line) {
	l.isUsed = true
	set := func(policy string) { pool.Set("policy", policy, l.Place) }
	word, argument, _ := strings.Cut(strings.TrimSuffix(l.words[1], ")"), "(")
	if word == "url_param" && len(l.words) > 2 {
		argument = l.words[2]
	}
	if word == "hash" && len(l.words) > 2 {
		word, argument, _ = strings.Cut(strings.TrimSuffix(l.words[2], ")"), "(")
		word = strings.TrimPrefix(word, "req.")
	}
	switch word {
	case "roundrobin", "static-rr":
		set("round_robin")
	case "leastconn":
		set("least_conn")
	case "random":
		set("random_two")
	case "source", "src":
		set("ip_hash")
	case "uri", "path":
		set("hash")
		pool.Set("hash.path", true, l.Place)
	case "url_param", "hdr", "cook", "cookie":
		if argument == "" {
			r.noteIn(pool, l, l.text(), "no name")
			return
		}
		set("hash")
		pool.Set(map[string]string{"url_param": "hash.query", "hdr": "hash.header", "cook": "hash.cookie", "cookie": "hash.cookie"}[word], argument, l.Place)
	case "first":
		r.noteIn(pool, l, l.text(), "backup = true of the other backends comes close")
	default:
		r.noteIn(pool, l, l.text(), "Sluice has no such setting")
	}
}

// secretFile is where the secret of cookies is expected.
const secretFile = "/etc/sluice/sticky.secret"

// cookie sets the policy sticky.
func (r *reader) cookie(pool *migrate.Section, l *line) {
	l.isUsed = true
	pool.SetNote("policy", "sticky", l.Place, "a new client goes where the fewest sessions are")
	pool.Set("sticky.cookie", l.words[1], l.Place)
	pool.SetNote("sticky.secret_file", secretFile, l.Place, "the key that signs the cookie: openssl rand -hex 32")
	pool.Set("sticky.same_site", "", l.Place)
	pool.Set("sticky.http_only", l.has("httponly"), l.Place)
	if l.has("secure") {
		pool.Set("sticky.secure", true, l.Place)
	}
	if domain := l.after("domain"); domain != "" {
		pool.Set("sticky.domain", strings.TrimPrefix(domain, "."), l.Place)
	}
	if !l.has("insert") {
		r.noteIn(pool, l, l.text(), "the cookie is Sluice's own, as with insert")
	}
}

// retryOn sets what another backend is tried after.
func retryOn(pool *migrate.Section, l *line) {
	kinds := []string{}
	var statuses []any
	for _, word := range l.words[1:] {
		switch status, err := strconv.Atoi(word); {
		case word == "conn-failure":
			kinds = append(kinds, "connect")
		case word == "empty-response":
			kinds = append(kinds, "reset")
		case word == "response-timeout":
			kinds = append(kinds, "timeout")
		case word == "all-retryable-errors":
			kinds = []string{"connect", "reset", "timeout"}
		case err == nil && status >= 500 && status <= 599:
			statuses = append(statuses, status)
		}
	}
	pool.Set("retry_on", kinds, l.Place)
	if statuses != nil {
		pool.Set("retry_statuses", statuses, l.Place)
	}
	l.isUsed = true
}

// health sets the check of a pool's backends: an HTTP request if the backend says so, or else a connection.
func (r *reader) health(pool *migrate.Section, s *section, server *line, defaults []string) {
	pool.Set("health.kind", "tcp", server.Place)
	pool.SetNote("health.interval", "2s", server.Place, "HAProxy's")
	for _, l := range []*line{{Place: server.Place, words: append([]string{""}, defaults...)}, server} {
		for _, option := range []struct{ word, key string }{{"inter", "health.interval"}, {"rise", "health.rise"}, {"fall", "health.fall"}} {
			value := l.after(option.word)
			if option.word == "inter" {
				if d, err := duration(value); err == nil && d != "0s" {
					pool.Set(option.key, d, l.Place)
				}
			} else if n, err := count(value); err == nil && n > 0 {
				pool.Set(option.key, n, l.Place)
			}
		}
	}
	var httpchk *line
	for _, l := range s.all() {
		text := l.text()
		switch {
		case strings.HasPrefix(text, "option httpchk"):
			httpchk = l
			l.isUsed = true
			pool.Set("health.kind", "http", l.Place)
			if words := l.words[2:]; len(words) == 1 {
				r.request(pool, l, "OPTIONS", words[0])
			} else if len(words) > 1 {
				r.request(pool, l, words[0], words[1])
				if _, host, hasHost := strings.Cut(strings.Join(words[2:], " "), "Host:"); hasHost {
					host, _, _ = strings.Cut(strings.TrimSpace(host), "\r")
					pool.Set("health.host", strings.TrimSpace(host), l.Place)
				}
			} else {
				r.request(pool, l, "OPTIONS", "/")
			}
		case l.words[0] == "http-check" && httpchk != nil && l.has("send"):
			l.isUsed = true
			method := l.after("meth")
			if method == "" {
				method = "GET"
			}
			if uri := l.after("uri"); uri != "" {
				r.request(pool, l, method, uri)
			}
			if strings.EqualFold(l.after("hdr"), "host") {
				pool.Set("health.host", l.words[slices.Index(l.words, "hdr")+2:][0], l.Place)
			}
		case l.words[0] == "http-check" && l.has("expect") && httpchk != nil:
			if statuses := statusesOf(l); statuses != nil {
				pool.Set("health.status", statuses, l.Place)
				l.isUsed = true
			} else {
				r.noteIn(pool, l, text, "a check looks at the status alone, one of health.status")
			}
		case strings.HasPrefix(text, "timeout check ") && len(l.words) == 3:
			if d, err := duration(l.words[2]); err == nil && d != "0s" {
				pool.Set("health.timeout", d, l.Place)
				l.isUsed = true
			}
		}
	}
	if httpchk != nil && pool.Get("health.status") == nil {
		pool.SetNote("health.status", []any{200, 204, 301, 302, 303, 307, 308}, httpchk.Place, "any from 200 to 399 in HAProxy")
	}
}

// request sets what is asked for in a check.
func (r *reader) request(pool *migrate.Section, l *line, method, uri string) {
	if !strings.HasPrefix(uri, "/") {
		return
	}
	pool.Set("health.path", uri, l.Place)
	if method != "GET" {
		r.noteIn(pool, l, l.text(), "a check is a GET here")
	}
}

// statusesOf returns the statuses that an http-check expects; nil if it expects something else.
func statusesOf(l *line) []any {
	i := slices.Index(l.words, "status")
	if i < 0 || i+1 >= len(l.words) || l.has("!") {
		return nil
	}
	var statuses []any
	for part := range strings.SplitSeq(l.words[i+1], ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, errFrom := strconv.Atoi(low)
		to, errTo := strconv.Atoi(high)
		if errFrom != nil || errTo != nil || from < 100 || to > 599 {
			return nil
		}
		for status := from; status <= to; status++ {
			statuses = append(statuses, status)
		}
	}
	return statuses
}

// routeKeys returns the keys of the routes to a backend that lines of it and of the frontend mean.
func (r *reader) routeKeys(front, back *section) []migrate.Key {
	var keys []migrate.Key
	add := func(name string, l *line, note string) {
		d, err := duration(l.words[2])
		if err != nil || d == "0s" {
			return
		}
		l.isUsed = true
		keys = slices.DeleteFunc(keys, func(k migrate.Key) bool { return k.Name == name })
		keys = append(keys, migrate.Key{Name: name, Value: d, From: l.Place, Note: note})
	}
	for _, l := range front.all() {
		if l.words[0] == "timeout" && len(l.words) > 2 && l.words[1] == "client-fin" {
			add("close_timeout", l, "")
		}
	}
	for _, l := range back.all() {
		if l.words[0] == "option" && len(l.words) > 3 && l.words[1] == "forwardfor" && l.after("header") != "" {
			l.isUsed = true
			keys = append(keys, migrate.Key{Name: migrate.Dotted("request_header", l.after("header")), Value: "{client_ip}", From: l.Place})
		}
		if l.words[0] != "timeout" || len(l.words) < 3 {
			continue
		}
		switch l.words[1] {
		case "connect":
			add("connect_timeout", l, "")
		case "server":
			add("handshake_timeout", l, "up to the 101")
			add("response_timeout", l, "of plain requests")
		case "tunnel":
			add("idle_timeout", l, "without it sessions stay as long as they live")
		}
	}
	return keys
}
