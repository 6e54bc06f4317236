package traefik

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/internal/migrate"
)

// secretFile is where the secret of cookies is expected.
const secretFile = "/etc/sluice/sticky.secret"

// service sets the pool of a case, or the pools with their weights.
func (r *reader) service(of *router, c *migrate.Case) {
	name := of.field("service")
	service := find(r.services, name.text)
	if service == nil {
		text, why := "service "+name.text, "there is no service of that name in the files: here the answer is 503"
		switch {
		case !name.is():
			text, why = of.rule.text, "the router names none of the services of its container: here the answer is 503"
		case strings.HasSuffix(name.text, "@internal"):
			why = "a service of Traefik itself: [admin]. Here the answer is 503"
		}
		r.note(placeOr(name.Place, of.rule.Place), text, why)
		via := c.Then.Via
		c.Then = migrate.Respond(of.rule.Place, 503, "")
		c.Then.Via = via
		return
	}
	weighted := service.field("weighted", "services")
	if !weighted.is() {
		if r.pool(service) {
			c.Then = c.Then.With(migrate.Key{Name: "pool", Value: service.name, From: placeOr(name.Place, of.Place)})
			r.routeKeys(service, c)
			return
		}
	}
	var pools []any
	for _, share := range weighted.children() {
		part := share.field("name")
		inner := find(r.services, part.text)
		if inner == nil || !r.pool(inner) {
			r.note(part.Place, "service "+part.text, "there is no service of that name with addresses in the files")
			continue
		}
		pool := migrate.Inline{{Name: "pool", Value: inner.name, From: part.Place}}
		if weight := share.field("weight"); weight.is() && weight.number() >= 0 {
			pool = append(pool, migrate.Key{Name: "weight", Value: weight.number(), From: weight.Place})
		}
		pools = append(pools, pool)
		r.routeKeys(inner, c)
	}
	if pools == nil {
		r.note(service.Place, "service "+service.name, "no addresses of backends: here the answer is 503")
		via := c.Then.Via
		c.Then = migrate.Respond(of.rule.Place, 503, "")
		c.Then.Via = via
		return
	}
	c.Then = c.Then.With(migrate.Key{Name: "pools", Value: pools, From: service.Place})
}

func placeOr(p, fallback migrate.Place) migrate.Place {
	if p.Line == 0 {
		return fallback
	}
	return p
}

// routeKeys sets the keys of a route that its service has.
func (r *reader) routeKeys(service *node, c *migrate.Case) {
	if pass := service.field("loadBalancer", "passHostHeader"); pass.is() && !pass.isTrue() {
		c.Then = c.Then.With(migrate.Key{Name: "host_header", Value: "backend", From: pass.Place})
	}
}

// pool writes the pool of a service, once. It reports whether there is one.
func (r *reader) pool(service *node) bool {
	if r.isWritten[service.name] {
		return true
	}
	balancer := service.field("loadBalancer")
	pool := &migrate.Section{From: service.Place}
	pool.Set("name", service.name, service.Place)
	var backends []any
	var from migrate.Place
	for _, server := range balancer.field("servers").children() {
		u := server.field("url")
		address, why := addressOf(u.text)
		if why != "" {
			r.note(u.Place, u.text, why)
			continue
		}
		if strings.HasPrefix(u.text, "h2c://") {
			pool.Set("protocol", "h2", u.Place)
		}
		backend := migrate.Inline{{Name: "address", Value: migrate.Text(address), From: u.Place}}
		if weight := server.field("weight"); weight.number() > 0 {
			backend = append(backend, migrate.Key{Name: "weight", Value: weight.number(), From: weight.Place})
		}
		if backends == nil {
			from = u.Place
		}
		backends = append(backends, backend)
	}
	if backends == nil {
		return false
	}
	if len(backends) > 1 {
		pool.SetNote("policy", "round_robin", service.Place, "Traefik's; without it least_conn, which suits sessions better")
	}
	pool.Set("backend", backends, from)
	r.sticky(pool, balancer.field("sticky", "cookie"))
	r.health(pool, balancer.field("healthCheck"))
	if name := balancer.field("serversTransport"); name.is() {
		if transport := find(r.transport, name.text); transport != nil {
			r.transportKeys(pool, transport)
		} else {
			r.note(name.Place, "serversTransport "+name.text, "there is none of that name in the files")
		}
	}
	r.isWritten[service.name] = true
	r.draft.Pools = append(r.draft.Pools, pool)
	return true
}

// addressOf returns the address of a backend at a URL, or why there is none.
func addressOf(text string) (address, why string) {
	scheme, rest, hasScheme := strings.Cut(text, "://")
	if !hasScheme {
		return "", "not a URL"
	}
	rest, path, hasPath := strings.Cut(rest, "/")
	if hasPath && path != "" {
		return "", "an address has no path: rewrite_path of the route"
	}
	if rest == "" {
		return "", "no host"
	}
	if u, err := url.Parse("http://" + rest); !strings.Contains(rest, "${") && (err != nil || u.Hostname() == "" || u.User != nil) {
		return "", "not a URL of a host and port"
	}
	if _, _, err := net.SplitHostPort(rest); err != nil && !strings.Contains(rest, "${") {
		rest += map[bool]string{true: ":443", false: ":80"}[scheme == "https"]
	}
	switch scheme {
	case "http", "ws", "h2c":
		return rest, ""
	case "https", "wss":
		return "wss://" + rest, ""
	}
	return "", "backends speak HTTP"
}

// sticky sets the policy sticky.
func (r *reader) sticky(pool *migrate.Section, cookie *node) {
	if !cookie.is() {
		return
	}
	pool.SetNote("policy", "sticky", cookie.Place, "a new client goes where the fewest sessions are")
	if name := cookie.field("name"); name.is() {
		pool.Set("sticky.cookie", name.text, name.Place)
	}
	pool.SetNote("sticky.secret_file", secretFile, cookie.Place, "the key that signs the cookie: openssl rand -hex 32")
	if secure := cookie.field("secure"); secure.is() {
		pool.Set("sticky.secure", secure.isTrue(), secure.Place)
	}
	if only := cookie.field("httpOnly"); only.is() {
		pool.Set("sticky.http_only", only.isTrue(), only.Place)
	}
	if site := cookie.field("sameSite"); slices.Contains([]string{"none", "lax", "strict"}, strings.ToLower(site.text)) {
		pool.Set("sticky.same_site", strings.ToLower(site.text), site.Place)
	}
}

// health sets the check of a pool.
func (r *reader) health(pool *migrate.Section, check *node) {
	path := check.field("path")
	if !strings.HasPrefix(path.text, "/") {
		return
	}
	pool.Set("health.kind", "http", path.Place)
	pool.Set("health.path", path.text, path.Place)
	pool.SetNote("health.interval", "30s", path.Place, "Traefik's")
	if host := check.field("hostname"); host.is() {
		pool.Set("health.host", host.text, host.Place)
	}
	if status := check.field("status"); status.number() > 0 {
		pool.Set("health.status", []any{status.number()}, status.Place)
	} else {
		pool.SetNote("health.status", []any{200, 204, 301, 302, 303, 307, 308}, path.Place, "any from 200 to 399 in Traefik")
	}
	for _, key := range []struct{ of, to string }{{"interval", "health.interval"}, {"timeout", "health.timeout"}} {
		if n := check.field(key.of); n.is() {
			if d, err := time.ParseDuration(n.text); err == nil && d > 0 && d <= 365*24*time.Hour {
				pool.Set(key.to, migrate.Duration(d), n.Place)
			}
		}
	}
}

// transportKeys sets how backends are connected to.
func (r *reader) transportKeys(pool *migrate.Section, transport *node) {
	if insecure := transport.field("insecureSkipVerify"); insecure.isTrue() {
		pool.SetNote("tls.insecure", true, insecure.Place, "an attacker on the path can read and change the traffic")
	}
	if name := transport.field("serverName"); name.is() {
		pool.Set("tls.server_name", name.text, name.Place)
	}
	if roots := transport.field("rootCAs"); roots.is() {
		if all := roots.values(); len(all) == 1 && all[0] != "" {
			pool.Set("tls.ca", migrate.Text(all[0]), roots.Place)
		} else {
			r.note(roots.Place, "rootCAs", "tls.ca is one file: put them together")
		}
	}
	for _, pair := range transport.field("certificates").children() {
		cert, key := pair.field("certFile"), pair.field("keyFile")
		if cert.is() && key.is() {
			pool.Set("tls.cert", migrate.Text(cert.text), cert.Place)
			pool.Set("tls.key", migrate.Text(key.text), key.Place)
		}
	}
}
