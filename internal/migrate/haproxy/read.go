package haproxy

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// reader makes a draft of sections.
type reader struct {
	draft    *migrate.Draft
	sections []*section
	listed   map[migrate.Skipped]bool // what is skipped already
	pools    map[string]*migrate.Section
	// Of all frontends: what their routes are made of, and which listeners have routes.
	cases     []migrate.Case
	listeners []string
}

// Read reads the files of a configuration into a draft, one after the other as HAProxy does. Its error names file and line.
func Read(files []string) (*migrate.Draft, error) {
	r := &reader{
		draft:  &migrate.Draft{Origin: "HAProxy: " + strings.Join(files, ", ")},
		listed: map[migrate.Skipped]bool{},
		pools:  map[string]*migrate.Section{},
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		sections, err := parse(file, text, r.sections)
		if err != nil {
			return nil, err
		}
		r.sections = append(r.sections, sections...)
	}
	if err := r.read(); err != nil {
		return nil, err
	}
	return r.draft, nil
}

func (r *reader) read() error {
	for _, s := range r.sections {
		switch {
		case !s.isProxy():
		case r.mode(s) != "http":
			r.skipAll(s, "of a proxy with mode "+r.mode(s)+": Sluice relays WebSocket and HTTP")
		case s.kind != "frontend":
			r.pool(s)
		}
	}
	for _, s := range r.sections {
		if s.isProxy() && s.kind != "backend" && r.mode(s) == "http" {
			if err := r.frontend(s); err != nil {
				return err
			}
		}
	}
	r.draft.AddRoutes(r.cases, r.listeners)
	mentioned := r.draft.Mentioned()
	for _, s := range r.sections {
		r.skipRest(s, mentioned)
	}
	slices.SortStableFunc(r.draft.Skipped, func(a, b migrate.Skipped) int { return r.order(a.From) - r.order(b.From) })
	return nil
}

// order returns a number by which places are ordered as they are read.
func (r *reader) order(p migrate.Place) int {
	first := slices.IndexFunc(r.sections, func(s *section) bool { return s.File == p.File })
	return first<<24 + p.Line
}

// mode returns the mode of a proxy: tcp unless it says http.
func (r *reader) mode(s *section) string {
	mode := "tcp"
	for _, l := range s.all() {
		if l.words[0] != "mode" || len(l.words) < 2 {
			continue
		}
		if mode = l.words[1]; mode == "http" {
			r.note(l, l.text(), "not needed: Sluice relays WebSocket and HTTP")
		}
	}
	return mode
}

// frontend reads a proxy that has listeners.
func (r *reader) frontend(s *section) error {
	c := &conditions{reader: r, acls: aclsOf(s)}
	r.binds(s, c)
	if len(c.plain)+len(c.secure) == 0 {
		return nil
	}
	cases, within, err := r.casesOf(s, c)
	if err != nil {
		return fmt.Errorf("%v: %w", s.Place, err)
	}
	r.cases = append(r.cases, cases...)
	if len(cases) == 0 {
		r.removeListeners(s, within)
		return nil
	}
	r.listeners = append(r.listeners, within...)
	for _, l := range s.all() {
		if l.words[0] == "acl" && !l.isUsed {
			r.note(l, l.text(), "no line that is carried over uses it")
		}
	}
	return nil
}

// removeListeners takes the listeners of a proxy out of the draft that no route would be for.
func (r *reader) removeListeners(s *section, names []string) {
	r.draft.Listeners = slices.DeleteFunc(r.draft.Listeners, func(l *migrate.Section) bool {
		name, _ := l.Get("name").(string)
		return slices.Contains(names, name)
	})
	for _, l := range s.all() {
		if l.words[0] == "bind" {
			r.note(l, l.text(), "no requests of it go to a backend")
		}
	}
}

// aclsOf returns the acl lines of a proxy by name.
func aclsOf(s *section) map[string][]*line {
	acls := map[string][]*line{}
	for _, l := range s.all() {
		if l.words[0] == "acl" && len(l.words) > 2 {
			acls[l.words[1]] = append(acls[l.words[1]], l)
		}
	}
	return acls
}

// find returns the proxy that backends of that name are in; nil: there is none.
func (r *reader) find(name string) *section {
	i := slices.IndexFunc(r.sections, func(s *section) bool { return s.isProxy() && s.kind != "frontend" && s.name == name })
	if i < 0 {
		return nil
	}
	return r.sections[i]
}

// note lists a line, or a part of it, that isn't carried over as it is.
func (r *reader) note(l *line, text, why string) { r.noteIn(nil, l, text, why) }

// noteIn does so at a section of the draft. What is listed already isn't listed again.
func (r *reader) noteIn(in *migrate.Section, l *line, text, why string) {
	l.isUsed = true
	key := migrate.Skipped{From: l.Place, Text: text, Why: why}
	if !r.listed[key] {
		r.listed[key] = true
		r.draft.Skip(in, l.Place, text, why)
	}
}

func (r *reader) skipAll(s *section, why string) {
	for _, l := range s.lines {
		r.note(l, l.text(), why)
	}
}

// skipRest lists the lines of a section that nothing has used.
func (r *reader) skipRest(s *section, mentioned map[migrate.Place]bool) {
	for _, l := range s.lines {
		switch {
		case !l.isUsed:
			r.note(l, l.text(), reason(s, l))
		case !mentioned[l.Place] && l.words[0] == "acl":
			r.note(l, l.text(), "not needed: the routes of the rules that name it have it")
		case !mentioned[l.Place]:
			r.note(l, l.text(), "without effect: an earlier line takes its requests, or a later one replaces it")
		}
	}
}

// reason says why a line isn't carried over.
func reason(s *section, l *line) string {
	word := l.words[0]
	if word == "no" || word == "default" {
		return "a default that is switched off"
	}
	if word == "http-request" && len(l.words) > 1 && strings.HasPrefix(l.words[1], "set-var") {
		return reasons["http-request set-var"]
	}
	if (word == "option" || word == "timeout" || word == "stats" || word == "http-request" || word == "http-response") && len(l.words) > 1 {
		word += " " + l.words[1]
	}
	if why := reasons[word]; why != "" {
		return why
	}
	switch {
	case l.words[0] == "timeout":
		return "not a time that is written out: connect_timeout, handshake_timeout, response_timeout, idle_timeout, close_timeout of [[route]]"
	case s.kind == "global":
		return "of the process HAProxy: [gateway], [log] and [admin] in config.example.toml have what Sluice has"
	case s.isProxy() || s.kind == "defaults":
		return "Sluice has no such setting"
	}
	return "a section " + s.kind + " has no counterpart"
}

// reasons are those of directives that are known.
var reasons = map[string]string{
	"log":                         "not needed: [log]",
	"log-format":                  "not needed: [log]",
	"log-tag":                     "not needed: [log]",
	"option httplog":              "not needed: [log]",
	"option tcplog":               "not needed: [log]",
	"option dontlognull":          "not needed: connections without a request write no line",
	"option dontlog-normal":       "not needed: [log] access",
	"option log-health-checks":    "not needed: changes of health are logged",
	"option http-server-close":    "not needed: connections to backends of plain requests are kept and used again",
	"option http-keep-alive":      "not needed: connections are kept",
	"option httpclose":            "connections are kept",
	"option forceclose":           "connections are kept",
	"option http-no-delay":        "not needed: nothing waits for more data",
	"option http-use-htx":         "not needed",
	"option prefer-last-server":   "without effect on WebSocket sessions",
	"option redispatch":           "not needed: retries are of other backends",
	"option splice-auto":          "not needed: Sluice splices by itself",
	"option tcpka":                "not needed: ping_interval finds dead connections",
	"option clitcpka":             "not needed: ping_interval finds dead clients",
	"option srvtcpka":             "not needed: backend_ping_interval finds dead backends",
	"option contstats":            "not needed: metrics count at once",
	"option abortonclose":         "not needed: a client that leaves ends its wait",
	"timeout client":              "not needed: ping_interval and pong_timeout find dead clients. To end idle sessions: idle_timeout",
	"timeout http-keep-alive":     "not needed: idle connections of plain requests are closed when their number reaches the limit (max_handshakes)",
	"timeout server-fin":          "not needed: close_timeout",
	"timeout tarpit":              "a refused request is answered at once",
	"stats enable":                "[admin]: a dashboard, metrics and an API",
	"stats uri":                   "[admin]: a dashboard, metrics and an API",
	"stats socket":                "[admin]: `sluice status`, `sluice drain`",
	"stats auth":                  "[admin] token_file",
	"stats":                       "[admin]: a dashboard, metrics and an API",
	"compression":                 "plain answers are not compressed: the backend can do it",
	"errorfile":                   "answers of the gateway's own have a fixed text",
	"errorloc":                    "answers of the gateway's own have a fixed text",
	"email-alert":                 "alerts are made of metrics: docs/monitoring.md",
	"maxconn":                     "[gateway] max_sessions",
	"nbthread":                    "[gateway] workers",
	"nbproc":                      "[gateway] workers",
	"hard-stop-after":             "[gateway] drain",
	"daemon":                      "not needed: systemd runs Sluice (deploy/)",
	"chroot":                      "not needed: systemd confines Sluice (deploy/)",
	"user":                        "not needed: systemd sets it (deploy/)",
	"group":                       "not needed: systemd sets it (deploy/)",
	"pidfile":                     "not needed: systemd runs Sluice (deploy/)",
	"stick-table":                 "rates and counts by client address: [[listener]] handshake_rate, max_sessions_per_ip",
	"stick":                       "policy = \"sticky\", or \"ip_hash\"",
	"http-request track-sc0":      "rates and counts by client address: [[listener]] handshake_rate, max_sessions_per_ip",
	"http-request track-sc1":      "rates and counts by client address: [[listener]] handshake_rate, max_sessions_per_ip",
	"http-request track-sc2":      "rates and counts by client address: [[listener]] handshake_rate, max_sessions_per_ip",
	"tcp-request":                 "conditions on connections: [[listener]] has max_sessions_per_ip and handshake_rate, [[route]] allow and deny",
	"fullconn":                    "max_sessions of each backend",
	"ssl-default-bind-ciphers":    "not needed: Go chooses the cipher suites",
	"ssl-default-bind-options":    "[listener.tls] min_version: \"1.2\" by default",
	"ssl-default-server-ciphers":  "not needed: Go chooses the cipher suites",
	"ssl-default-server-options":  "not needed: TLS 1.2 at least",
	"tune.ssl.default-dh-param":   "not needed: Go has no such key exchange",
	"ssl-dh-param-file":           "not needed: Go has no such key exchange",
	"ssl-default-bind-curves":     "not needed: Go chooses the curves",
	"ca-base":                     "file names are written as they stand: make them absolute",
	"crt-base":                    "file names are written as they stand: make them absolute",
	"http-reuse":                  "not needed: connections of plain requests are used again where that is safe",
	"http-check":                  "checks have a path, a host and statuses: [pool.health]",
	"description":                 "a comment",
	"capture":                     "the log has fixed fields",
	"unique-id-format":            "X-Request-Id has a form of Sluice's own",
	"option originalto":           "Sluice has no such setting",
	"option forwardfor":           "not needed: X-Forwarded-For is set, and a client's own is dropped unless it is one of trusted_proxies",
	"http-request capture":        "the log has fixed fields",
	"http-request auth":           "there is no authentication",
	"http-request set-log-level":  "[log]",
	"http-request set-var":        "there are no variables",
	"http-response set-log-level": "[log]",
	"use-server":                  "the policy of the pool chooses",
	"filter":                      "Sluice has no such setting",
}
