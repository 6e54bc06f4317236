package nginx

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// An upstream is an upstream{}.
type upstream struct {
	directive *directive
	level     *level
}

func (r *reader) addUpstream(d *directive) {
	r.upstreams[strings.ToLower(d.arg(0))] = &upstream{d, &level{block: d.block}}
}

// pool returns the name of the pool for a target, which it makes unless there is one.
func (r *reader) pool(t target, l *level, pass *directive) (string, error) {
	of, isUpstream := r.upstreams[strings.ToLower(t.host)]
	name := t.host
	if t.scheme == "https" && !(isUpstream && r.isAlways("https", t.host)) {
		name = "https://" + t.host
	}
	for _, s := range r.draft.Pools {
		if s.Get("name") == name {
			return name, r.writePoolTLS(s, t, l)
		}
	}
	s := &migrate.Section{From: pass.place}
	if isUpstream {
		s.From = of.directive.place
	}
	s.Set("name", name, s.From)
	if isUpstream {
		if err := r.writeUpstream(s, of, t); err != nil {
			return "", err
		}
	} else {
		address, err := backendAddress(t.host, t.scheme)
		if err != nil {
			return "", err
		}
		s.Set("backend", []any{migrate.Inline{{Name: "address", Value: address, From: pass.place}}}, pass.place)
	}
	r.writeRetries(s, l)
	r.draft.Pools = append(r.draft.Pools, s)
	return name, r.writePoolTLS(s, t, l)
}

// isAlways reports whether every proxy_pass to a host has the scheme.
func (r *reader) isAlways(scheme, host string) bool {
	isOther := false
	walk(r.top, func(d *directive) {
		if d.name == "proxy_pass" {
			rest, has := strings.CutPrefix(d.arg(0), scheme+"://")
			if !has && strings.Contains(d.arg(0), "://"+host) && !strings.Contains(rest, "$") {
				isOther = true
			}
		}
	})
	return !isOther
}

// walk calls do for directives and those in their blocks.
func walk(block []*directive, do func(*directive)) {
	for _, d := range block {
		do(d)
		walk(d.block, do)
	}
}

// writeUpstream writes the policy and the backends of an upstream.
func (r *reader) writeUpstream(s *migrate.Section, of *upstream, t target) error {
	r.writePolicy(s, of)
	var backends []any
	fails, within, failsAt := 1, "10s", of.directive.place
	for _, d := range of.level.own("server") {
		address, err := backendAddress(d.arg(0), t.scheme)
		if err != nil {
			r.skip(d, err.Error())
			continue
		}
		backend := migrate.Inline{{Name: "address", Value: address, From: d.place}}
		isDown := false
		for _, arg := range d.args[1:] {
			name, value, _ := strings.Cut(arg, "=")
			n, err := strconv.Atoi(value)
			switch {
			case name == "weight" && err == nil:
				if n != 1 {
					backend = append(backend, migrate.Key{Name: "weight", Value: n})
				}
			case name == "backup":
				backend = append(backend, migrate.Key{Name: "backup", Value: true})
			case name == "max_conns" && err == nil:
				if n > 0 {
					backend = append(backend, migrate.Key{Name: "max_sessions", Value: n})
				}
			case name == "down":
				isDown = true
			case name == "max_fails" && err == nil:
				fails, failsAt = n, d.place
			case name == "fail_timeout":
				if text, isTime := duration(value); isTime {
					within, failsAt = text, d.place
				}
			case name == "slow_start":
				if text, isTime := duration(value); isTime && text != "0s" {
					s.Set("slow_start", text, d.place)
				}
			case name == "resolve":
				s.Set("discovery.dns", "a", d.place)
			case name == "service":
				s.Set("discovery.dns", "srv", d.place)
			default:
				r.skipText(d, "server "+d.arg(0)+" … "+arg, "no such setting of a backend")
			}
		}
		if isDown {
			r.skip(d, "a backend that is down is left out")
			continue
		}
		backends = append(backends, backend)
	}
	if len(backends) == 0 {
		return fmt.Errorf("the upstream %s has no server", of.directive.arg(0))
	}
	s.Set("backend", backends, of.directive.place)
	switch {
	case len(backends) == 1:
	case fails == 0:
		s.Set("ejection.failures", 0, failsAt)
	case within != "0s":
		s.SetNote("ejection.failures", fails, failsAt, "max_fails and fail_timeout, as nginx has them")
		for _, key := range []string{"window", "base_time", "max_time"} {
			s.Set("ejection."+key, within, failsAt)
		}
	}
	return nil
}

// writePolicy writes how a backend is chosen.
func (r *reader) writePolicy(s *migrate.Section, of *upstream) {
	set := func(policy string, d *directive) { s.Set("policy", policy, d.place) }
	set("round_robin", of.directive)
	for _, d := range of.level.own("least_conn", "ip_hash", "random", "hash", "sticky") {
		switch d.name {
		case "least_conn", "ip_hash":
			set(d.name, d)
		case "random":
			set("random", d)
			if d.arg(0) == "two" {
				set("random_two", d)
			}
		case "hash":
			r.writeHash(s, d)
		case "sticky":
			r.writeSticky(s, d)
		}
	}
}

// writeHash writes a hash. Only the key of one variable can be said.
func (r *reader) writeHash(s *migrate.Section, d *directive) {
	variable := strings.Trim(strings.TrimPrefix(d.arg(0), "$"), "{}")
	for _, key := range []struct{ prefix, name string }{{"arg_", "query"}, {"cookie_", "cookie"}, {"http_", "header"}} {
		if value, isThis := strings.CutPrefix(variable, key.prefix); isThis && value != "" && !strings.ContainsAny(value, "$") {
			if key.name == "header" {
				value = fieldName(value)
			}
			s.Set("policy", "hash", d.place)
			s.Set("hash."+key.name, value, d.place)
			return
		}
	}
	switch variable {
	case "remote_addr", "binary_remote_addr":
		s.Set("policy", "ip_hash", d.place)
	case "uri", "request_uri", "document_uri":
		s.Set("policy", "hash", d.place)
		s.SetNote("hash.path", true, d.place, "without the query")
	default:
		r.skip(d, "a hash takes its key from a header, a cookie, a parameter of the query, the path or the client's address")
	}
}

// writeSticky writes a sticky cookie.
func (r *reader) writeSticky(s *migrate.Section, d *directive) {
	if d.arg(0) != "cookie" || len(d.args) < 2 {
		r.skip(d, "policy = \"sticky\" is by a cookie of the gateway's own")
		return
	}
	s.Set("policy", "sticky", d.place)
	s.Set("sticky.cookie", d.arg(1), d.place)
	s.SetNote("sticky.secret_file", "/etc/sluice/sticky.secret", d.place, "to be made: openssl rand -base64 32")
	for _, arg := range d.args[2:] {
		name, value, _ := strings.Cut(arg, "=")
		switch text, isTime := duration(value); {
		case name == "expires" && isTime:
			s.Set("sticky.ttl", text, d.place)
		case name == "domain" || name == "path":
			s.Set("sticky."+name, value, d.place)
		case name == "secure":
			s.Set("sticky.secure", true, d.place)
		case name == "samesite":
			s.Set("sticky.same_site", value, d.place)
		}
	}
}

// writeRetries writes a proxy_next_upstream. It is of the pool, so that of the first location counts.
func (r *reader) writeRetries(s *migrate.Section, l *level) {
	if d := l.last("proxy_next_upstream_tries"); d != nil {
		if n, err := strconv.Atoi(d.arg(0)); err == nil && n > 0 {
			s.Set("retries", n-1, d.place)
		}
	}
	d := l.last("proxy_next_upstream")
	if d == nil {
		return
	}
	on, statuses := []string{}, []any{}
	for _, arg := range d.args {
		switch arg {
		case "off":
			s.Set("retries", 0, d.place)
			return
		case "error":
			on = append(on, "connect", "reset")
		case "timeout":
			on = append(on, "timeout")
		case "http_500", "http_502", "http_503", "http_504":
			n, _ := strconv.Atoi(strings.TrimPrefix(arg, "http_"))
			statuses = append(statuses, n)
		default:
			r.skipText(d, "proxy_next_upstream "+arg, "retry_on has connect, reset and timeout, retry_statuses those from 500 on")
		}
	}
	s.Set("retry_on", on, d.place)
	if len(statuses) > 0 {
		s.Set("retry_statuses", statuses, d.place)
	}
}

// writePoolTLS writes the TLS towards backends. A pool has one, so an error says that another location wants it otherwise.
func (r *reader) writePoolTLS(s *migrate.Section, t target, l *level) error {
	if t.scheme != "https" {
		return nil
	}
	insecure := !l.isOn("proxy_ssl_verify")
	if before := s.Get("tls.insecure"); before != nil && before != insecure {
		return errors.New("another location verifies the certificates of the same upstream otherwise: make two pools of it")
	}
	from := s.From
	if d := l.last("proxy_ssl_verify"); d != nil {
		from = d.place
	}
	if insecure {
		s.SetNote("tls.insecure", true, from, "nginx does not verify certificates of backends by default; better: set tls.ca and remove this")
	} else {
		s.Set("tls.insecure", false, from)
	}
	for _, key := range []struct{ directive, name string }{
		{"proxy_ssl_trusted_certificate", "tls.ca"}, {"proxy_ssl_certificate", "tls.cert"}, {"proxy_ssl_certificate_key", "tls.key"},
	} {
		if d := l.last(key.directive); d != nil {
			s.Set(key.name, d.arg(0), d.place)
		}
	}
	if d := l.last("proxy_ssl_name"); d != nil {
		if x := (&expander{level: l, plain: true}); !strings.Contains(d.arg(0), "$") {
			s.Set("tls.server_name", d.arg(0), d.place)
		} else if name, err := x.expand(d.arg(0)); err == nil {
			s.Set("tls.server_name", name, d.place)
		} else {
			r.skip(d, err.Error()+": server_name is a fixed name")
		}
	}
	return nil
}
