package traefik

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// route returns what a router makes of the requests of a case: its middlewares, in their order, and then its service.
func (r *reader) route(of *router, c migrate.Case) []migrate.Case {
	var before, denied []migrate.Case
	names := of.field("middlewares")
	for _, name := range names.values() {
		middleware := find(r.middlewares, name)
		if middleware == nil {
			r.close(&c, names.Place, "the middleware "+name, name,
				"there is no middleware of that name in the files, and it may be an authentication: the routes refuse every client. Import all files together")
			continue
		}
		isDone := r.apply(middleware, &c, &before, &denied, 0)
		if isDone {
			return slices.Concat(before, []migrate.Case{c}, denied)
		}
	}
	r.service(of, &c)
	return slices.Concat(before, []migrate.Case{c}, denied)
}

// apply changes a case as a middleware does. before and denied get the cases that come before and after it. It reports whether the gateway
// answers by itself then.
func (r *reader) apply(middleware *node, c *migrate.Case, before, denied *[]migrate.Case, depth int) (isDone bool) {
	set := func(name string, value any, at migrate.Place) {
		c.Then = c.Then.With(migrate.Key{Name: name, Value: value, From: at})
	}
	for _, m := range middleware.fields {
		switch strings.ToLower(m.name) {
		case "chain":
			list := m.field("middlewares")
			names := list.values()
			for _, element := range list.list { // of a custom resource
				if name := element.field("name"); name.is() {
					names = append(names, name.text)
				}
			}
			for _, name := range names {
				inner := find(r.middlewares, name)
				if inner == nil || depth == mostDepth {
					r.close(c, list.Place, "the middleware "+name, name,
						"there is no middleware of that name in the files, and it may be an authentication: the routes refuse every client. Import all files together")
				} else if r.apply(inner, c, before, denied, depth+1) {
					return true
				}
			}
		case "stripprefix":
			r.stripPrefix(m, c)
		case "addprefix":
			prefix := m.field("prefix")
			if c.PathRegexp != "" {
				r.note(prefix.Place, "addPrefix "+prefix.text, "not carried over for this route: rewrite_path")
				continue
			}
			set("rewrite_path", strings.TrimRight(prefix.text, "/")+c.PathExact+strings.TrimRight(c.Path, "/"), prefix.Place)
		case "replacepath":
			if path := m.field("path"); c.PathExact != "" {
				set("rewrite_path", path.text, path.Place)
			} else {
				r.note(path.Place, "replacePath "+path.text, "one path for many: path_exact and rewrite_path of a route")
			}
		case "replacepathregex":
			r.replacePath(m, c)
		case "redirectscheme":
			scheme, permanent := m.field("scheme"), m.field("permanent")
			to := scheme.text + "://{host}"
			if port := m.field("port"); port.is() {
				to += ":" + port.text
			}
			status := 302
			if permanent.isTrue() {
				status = 301
			}
			via := c.Then.Via
			c.Then = migrate.Redirect(scheme.Place, to+"{uri}", status)
			c.Then.Via = via
			return true
		case "headers":
			r.headers(m, c)
		case "ipallowlist", "ipwhitelist":
			ranges := m.field("sourceRange")
			clients := ranges.values()
			switch {
			case len(clients) == 0:
				r.close(c, m.Place, m.name, m.name, "a list without addresses lets no client in")
				continue
			case c.Clients != nil && !slices.Equal(c.Clients, clients):
				r.close(c, ranges.Place, "two lists of addresses", m.name+".sourceRange: "+strings.Join(clients, ", "),
					"a client has to be in another list too: the routes refuse every client. Write the addresses that both lists have into allow")
				continue
			}
			other := *c
			other.Then = migrate.Respond(ranges.Place, 403, "")
			*denied = append(*denied, other)
			c.Match = c.At("allow", ranges.Place)
			c.Clients = clients
		case "buffering":
			if limit := m.field("maxRequestBodyBytes"); limit.number() >= 0 {
				set("request_body", limit.number(), limit.Place)
			}
		case "basicauth", "digestauth", "forwardauth":
			r.close(c, m.Place, m.name, m.name+": ***", whyAuth)
		case "plugin":
			r.close(c, m.Place, "a plugin", m.name+": ***", "there are no plugins, and it may be an authentication: the routes refuse every client. Delete the deny of all if it is none")
		case "redirectregex":
			redirected, isKnown := r.redirectRegex(m, *c)
			if isKnown && redirected.Covers(c.Match) {
				*c = redirected
				return true
			}
			if isKnown {
				*before = append(*before, redirected)
			}
		case "retry":
			r.note(m.field("attempts").Place, "retry.attempts: "+m.field("attempts").text, "retries of [[pool]]: 2 by default")
		}
	}
	return false
}

// whyAuth is why the routes of an authentication are closed.
const whyAuth = "there is no authentication: the routes refuse every client. Let the backend authenticate the clients, and delete the deny of all"

// close makes a case refuse every client, because of a part of the configuration that can't be carried over. by names it.
func (r *reader) close(c *migrate.Case, at migrate.Place, by, text, why string) {
	c.Then = c.Then.Closed(at, by)
	r.note(at, text, why)
}

// stripPrefix sets what is taken off the path.
func (r *reader) stripPrefix(m *node, c *migrate.Case) {
	prefixes := m.field("prefixes")
	for _, prefix := range prefixes.values() {
		prefix = strings.TrimRight(prefix, "/")
		path := c.Path + c.PathExact
		switch {
		case prefix == "":
		case c.PathRegexp == "" && (path == prefix || strings.HasPrefix(path, prefix+"/")):
			if c.PathExact != "" {
				rest := "/" + strings.TrimLeft(path[len(prefix):], "/")
				c.Then = c.Then.With(migrate.Key{Name: "rewrite_path", Value: rest, From: prefixes.Place})
			} else {
				c.Then = c.Then.With(migrate.Key{Name: "strip_prefix", Value: prefix, From: prefixes.Place})
			}
			c.Then = c.Then.With(migrate.Key{Name: migrate.Dotted("request_header", "X-Forwarded-Prefix"), Value: prefix, From: prefixes.Place})
			return
		case c.PathRegexp != "" || strings.HasPrefix(prefix, strings.TrimRight(path, "/")+"/"):
			r.note(prefixes.Place, "stripPrefix "+prefix, "not carried over for a route whose path is another: a route of its own with strip_prefix")
		}
	}
}

// stripping finds the prefix that a regular expression takes off: ^/prefix/(.*).
var stripping = regexp.MustCompile(`^\^?(/[A-Za-z0-9_./-]*[A-Za-z0-9_-])/\(\.\*\)\$?$`)

// replacePath sets what a path becomes.
func (r *reader) replacePath(m *node, c *migrate.Case) {
	expression, replacement := m.field("regex"), m.field("replacement")
	found := stripping.FindStringSubmatch(expression.text)
	prefix, isAtEnd := strings.CutSuffix(strings.NewReplacer("${1}", "$1").Replace(replacement.text), "$1")
	switch {
	case c.PathRegexp == expression.text:
		c.Then = c.Then.With(migrate.Key{Name: "rewrite_path", Value: replacement.text, From: replacement.Place})
	case found != nil && isAtEnd && !strings.Contains(prefix, "$") && c.PathRegexp == "" && c.PathExact == "" && strings.HasPrefix(c.Path+"/", found[1]+"/"):
		rest := strings.Trim(prefix, "/") + c.Path[len(found[1]):]
		if rest == "" {
			c.Then = c.Then.With(migrate.Key{Name: "strip_prefix", Value: c.Path, From: expression.Place})
		} else {
			c.Then = c.Then.With(migrate.Key{Name: "rewrite_path", Value: "/" + strings.TrimLeft(rest, "/"), From: expression.Place})
		}
	default:
		r.note(expression.Place, "replacePathRegex "+expression.text, "not carried over for this route: path_regexp and rewrite_path")
	}
}

// fixed are the fields that options of the middleware headers stand for.
var fixed = []struct{ option, name, value string }{
	{"frameDeny", "X-Frame-Options", "DENY"},
	{"contentTypeNosniff", "X-Content-Type-Options", "nosniff"},
	{"browserXssFilter", "X-XSS-Protection", "1; mode=block"},
	{"customFrameOptionsValue", "X-Frame-Options", ""},
	{"customBrowserXSSValue", "X-XSS-Protection", ""},
	{"contentSecurityPolicy", "Content-Security-Policy", ""},
	{"referrerPolicy", "Referrer-Policy", ""},
	{"permissionsPolicy", "Permissions-Policy", ""},
	{"featurePolicy", "Feature-Policy", ""},
}

// headers sets the fields of the middleware headers.
func (r *reader) headers(m *node, c *migrate.Case) {
	field := func(table, name, value string, at migrate.Place) {
		value = strings.ReplaceAll(value, "{", "{{")
		c.Then = c.Then.With(migrate.Key{Name: migrate.Dotted(table, name), Value: value, From: at})
	}
	for _, f := range m.field("customRequestHeaders").fields {
		switch lower := strings.ToLower(f.name); {
		case slices.Contains([]string{"connection", "upgrade", "transfer-encoding", "content-length"}, lower):
			r.note(f.Place, f.name+": "+f.text, "not needed: Sluice passes Connection, Upgrade and the fields of the handshake on")
		case slices.Contains([]string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}, lower):
			r.note(f.Place, f.name+": "+f.text, "not needed: Sluice sets X-Forwarded-For, -Proto and -Host")
		case lower == "host" && f.text != "":
			c.Then = c.Then.With(migrate.Key{Name: "host_header", Value: migrate.Text(f.text), From: f.Place})
		case f.text == "":
			c.Then = c.Then.Append("remove_header", f.name, f.Place)
		default:
			field("request_header", f.name, f.text, f.Place)
		}
	}
	for _, f := range m.field("customResponseHeaders").fields {
		if f.text == "" {
			c.Then = c.Then.Append("remove_response_header", f.name, f.Place)
		} else {
			field("response_header", f.name, f.text, f.Place)
		}
	}
	for _, option := range fixed {
		switch n := m.field(option.option); {
		case n.is() && option.value == "":
			field("response_header", option.name, n.text, n.Place)
		case n.isTrue():
			field("response_header", option.name, option.value, n.Place)
		}
	}
	if seconds := m.field("stsSeconds"); seconds.number() > 0 {
		value := "max-age=" + strconv.Itoa(seconds.number())
		for _, option := range []struct{ name, text string }{{"stsIncludeSubdomains", "; includeSubDomains"}, {"stsPreload", "; preload"}} {
			if n := m.field(option.name); n.isTrue() {
				value += option.text
				r.note(n.Place, n.name+": "+n.text, "part of Strict-Transport-Security")
			}
		}
		field("response_header", "Strict-Transport-Security", value, seconds.Place)
	}
}
