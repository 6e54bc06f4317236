package nginx

import (
	"slices"
	"strings"

	"sluice/internal/migrate"
)

const (
	whyUpgrade   = "not needed: Upgrade and Connection are passed on where a request has them"
	whyForwarded = "not needed: X-Forwarded-For, -Proto and -Host, X-Real-IP and X-Request-Id are set, and believed only from trusted_proxies"
	whySame      = "not needed: fields of the client are passed on"
)

// writeFields writes what the backend gets in the request: Host and other fields. nginx sends the name in proxy_pass as Host where nothing
// else is said, and it inherits all of proxy_set_header or, with one at this level, none.
func (r *reader) writeFields(s *server, l *level, answer *migrate.Answer, x *expander) {
	hasHost := false
	var removed []*directive
	for _, d := range l.all("proxy_set_header") {
		name, value := d.arg(0), d.arg(1)
		lower := strings.ToLower(name)
		switch {
		case lower == "host":
			hasHost = true
			r.writeHost(s, l, answer, d, x)
		case belongsToHandshake[lower]:
			r.skipIn(answer, d, whyUpgrade)
		case isForwarded(lower, value):
			r.skipIn(answer, d, whyForwarded)
		case value == "$http_"+strings.ReplaceAll(lower, "-", "_"):
			r.skipIn(answer, d, whySame)
		case value == "":
			removed = append(removed, d)
		default:
			text, err := x.expand(value)
			if err != nil {
				r.skipIn(answer, d, err.Error())
				continue
			}
			set(answer, migrate.Dotted("request_header", canonical(answer, "request_header", name)), text, d.place, "")
		}
	}
	if len(removed) > 0 {
		answer.Keys = append(answer.Keys, keyOf("remove_header", firstArgs(removed), removed))
	}
	if pass := l.last("proxy_pass"); !hasHost && pass != nil {
		if target, err := parseTarget(pass.arg(0), l); err == nil {
			set(answer, "host_header", target.hostHeader(), pass.place, "nginx's default: the name in proxy_pass")
		} else if r.splitOf(pass) != nil {
			r.skipIn(answer, pass, whyHostOfSplit)
		}
	}
}

const whyHostOfSplit = "nginx sends the name of each upstream as Host: the backends of all pools get the client's Host, or one host_header"

// belongsToHandshake are the fields that a gateway sets or passes on by itself.
var belongsToHandshake = map[string]bool{
	"connection": true, "upgrade": true, "content-length": true, "transfer-encoding": true, "expect": true, "te": true, "trailer": true,
	"keep-alive": true, "proxy-connection": true, "sec-websocket-key": true, "sec-websocket-version": true, "sec-websocket-protocol": true,
	"sec-websocket-extensions": true, "sec-websocket-accept": true, "x-sluice-hops": true,
}

// isForwarded reports whether a field is what Sluice sets by itself.
func isForwarded(lower, value string) bool {
	switch lower {
	case "x-forwarded-for":
		return value == "$proxy_add_x_forwarded_for" || value == "$remote_addr" || value == "$http_x_forwarded_for"
	case "x-forwarded-proto":
		return value == "$scheme" || value == "$http_x_forwarded_proto" || value == "$proxy_x_forwarded_proto"
	case "x-forwarded-host":
		return value == "$host" || value == "$http_host" || value == "$host:$server_port" || value == "$http_x_forwarded_host"
	case "x-real-ip":
		return value == "$remote_addr" || value == "$http_x_real_ip"
	case "x-request-id":
		return value == "$request_id"
	}
	return false
}

// canonical returns the name of a field as the answer has it already, if it has it in another writing.
func canonical(answer *migrate.Answer, table, name string) string {
	same := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(s)) }
	for _, key := range answer.Keys {
		of, isField := strings.CutPrefix(key.Name, table+".")
		if of = strings.Trim(of, `"'`); isField && same(of) == same(name) {
			return of
		}
	}
	return name
}

// writeHost writes the Host that the backend gets.
func (r *reader) writeHost(s *server, l *level, answer *migrate.Answer, d *directive, x *expander) {
	value := d.arg(1)
	switch value {
	case "$host", "$http_host", "$host:$server_port", "$http_host:$server_port":
		d.isRead = true
		if value != "$http_host" {
			r.skipIn(answer, d, "the backend gets the Host as the client sent it, with its port")
		} else {
			r.skipIn(answer, d, whySame)
		}
		return
	case "$proxy_host":
		if target, err := parseTarget(l.last("proxy_pass").arg(0), l); err == nil {
			set(answer, "host_header", target.hostHeader(), d.place, "")
		} else {
			r.skipIn(answer, d, whyHostOfSplit)
		}
		return
	}
	text, err := x.expand(value)
	name, port, hasPort := strings.Cut(text, ":")
	if err != nil || !hostName.MatchString(strings.ToLower(name)) || hasPort && !allDigits.MatchString(port) {
		r.skipIn(answer, d, "the Host of the backend is the client's, the backend's address, or a name")
		return
	}
	set(answer, "host_header", text, d.place, "")
}

// hideFields writes what the client does not get of the backend's fields.
func (r *reader) hideFields(answer *migrate.Answer, l *level) {
	var hidden []*directive
	for _, d := range l.all("proxy_hide_header") {
		isSet := slices.ContainsFunc(answer.Keys, func(k migrate.Key) bool {
			return strings.EqualFold(k.Name, migrate.Dotted("response_header", d.arg(0)))
		})
		if isSet {
			r.skipIn(answer, d, "not needed: response_header replaces the field of the backend")
		} else {
			hidden = append(hidden, d)
		}
	}
	if len(hidden) > 0 {
		answer.Keys = append(answer.Keys, keyOf("remove_response_header", firstArgs(hidden), hidden))
	}
}

// firstArgs returns the first argument of each directive.
func firstArgs(all []*directive) []string {
	var args []string
	for _, d := range all {
		args = append(args, d.arg(0))
	}
	return args
}

// addResponseFields writes what the client gets in the answer besides.
func (r *reader) addResponseFields(answer *migrate.Answer, l *level, x *expander) {
	seen := map[string]bool{}
	plain := *x
	plain.plain, plain.captures = false, false
	for _, d := range l.all("add_header") {
		name, value := d.arg(0), d.arg(1)
		if value == "" || seen[strings.ToLower(name)] {
			r.skipIn(answer, d, "response_header has each field once")
			continue
		}
		text, err := plain.expand(value)
		if err != nil {
			r.skipIn(answer, d, err.Error())
			continue
		}
		if belongsToHandshake[strings.ToLower(name)] || strings.EqualFold(name, "Location") {
			r.skipIn(answer, d, "the field is not one that can be set")
			continue
		}
		seen[strings.ToLower(name)] = true
		set(answer, migrate.Dotted("response_header", canonical(answer, "response_header", name)), text, d.place, "")
	}
}
