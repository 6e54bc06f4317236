package traefik

import (
	"net"
	"slices"
	"sort"
	"strings"

	"sluice/internal/migrate"
)

// A router is one of Traefik's, with its rule read.
type router struct {
	*node
	rule     *node
	when     []migrate.Clause
	priority int
	points   []string
	isSecure bool
}

// write makes the draft.
func (r *reader) write() error {
	routers := r.readRouters()
	points := r.points(routers)
	answers := map[string]*router{}
	var listeners []string
	places := map[string]migrate.Place{}
	for _, point := range points {
		listener, isRedirected := r.listener(point, routers)
		if isRedirected {
			continue
		}
		name, _ := listener.Get("name").(string)
		listeners = append(listeners, name)
		places[name] = point.Place
	}
	for _, name := range listeners {
		var rules []migrate.Rule
		for _, router := range routers {
			if !slices.Contains(router.points, name) && len(router.points) > 0 {
				continue
			}
			if router.isSecure != r.secure[name] && (router.isSecure || len(router.points) == 0) {
				continue // Traefik has routers with TLS apart from those without
			}
			key := router.Place.String() + router.name
			answers[key] = router
			rules = append(rules, migrate.Rule{When: router.when, Then: &migrate.Answer{From: router.rule.Place, Via: key}})
		}
		none := migrate.Respond(places[name], 404, "")
		none.IsNone = true
		rules = append(rules, migrate.Rule{When: []migrate.Clause{{}}, Then: none})
		cases, err := migrate.Cases(migrate.Match{Listeners: []string{name}}, rules, func(rule migrate.Rule, _ bool) {
			r.note(rule.Then.From, "rule", "no route can have this rule: read the routes to see where its requests go")
		})
		if err != nil {
			return err
		}
		var all []migrate.Case
		for _, c := range cases {
			if c.Then.Via == "" {
				all = append(all, c)
				continue
			}
			all = append(all, r.route(answers[c.Then.Via], c)...)
		}
		guarded := migrate.Guard(all, func(c migrate.Case) {
			r.note(c.Then.From, "ClientIP", "the address of a client does not choose a route: allow and deny of a route refuse clients with 403")
		}, func(c migrate.Case) {
			r.note(c.Then.From, "ClientIP", "it refuses more here: all requests of routes of which the original refuses a part")
		})
		r.cases = append(r.cases, migrate.Trim(guarded)...)
	}
	r.draft.AddRoutes(joined(r.cases), listeners)
	return nil
}

// joined makes one case of those that differ in their listeners alone.
func joined(cases []migrate.Case) (all []migrate.Case) {
	for _, c := range cases {
		i := slices.IndexFunc(all, func(has migrate.Case) bool {
			a, b := has.Match, c.Match
			a.Listeners, b.Listeners = nil, nil
			return has.Then.Via == c.Then.Via && c.Then.Via != "" && a.Covers(b) && b.Covers(a) && slices.Equal(has.Deny, c.Deny)
		})
		if i < 0 {
			all = append(all, c)
			continue
		}
		all[i].Listeners = append(slices.Clone(all[i].Listeners), c.Listeners...)
	}
	return all
}

// readRouters returns the routers in the order in which Traefik tries them: by priority, which is the length of the rule unless it is set.
func (r *reader) readRouters() []*router {
	var routers []*router
	for _, n := range r.routers {
		rule := n.field("rule")
		if !rule.is() {
			rule = n.field("match") // of an IngressRoute
		}
		text := rule.text
		if text == "" {
			continue
		}
		parser := ruleParser{text: text, at: rule.Place, note: func(why string) { r.note(rule.Place, text, why) }}
		when, err := parser.parse()
		if err != nil {
			r.note(rule.Place, text, err.Error())
			continue
		}
		one := &router{node: n, rule: rule, when: when, priority: len(text), points: n.field("entryPoints").values()}
		if priority := n.field("priority").number(); priority > 0 {
			one.priority = priority
		}
		tls := n.field("tls")
		one.isSecure = tls.is() && !strings.EqualFold(tls.text, "false")
		routers = append(routers, one)
	}
	sort.SliceStable(routers, func(i, j int) bool { return routers[i].priority > routers[j].priority })
	return routers
}

// points returns the entry points: those of a static configuration, or web and websecure, and those that routers name besides.
func (r *reader) points(routers []*router) []*node {
	points := slices.DeleteFunc(slices.Clone(r.entryPoints), func(n *node) bool { return !n.field("address").is() })
	add := func(name, address string, at migrate.Place) {
		if find(points, name) == nil {
			point := &node{Place: at, name: name}
			point.put([]string{"address"}, address, at)
			points = append(points, point)
		}
	}
	for _, router := range routers {
		names := router.points
		if len(names) == 0 && len(r.entryPoints) == 0 {
			names = []string{"web"}
			if router.isSecure {
				names = []string{"websecure"}
			}
		}
		for _, name := range names {
			address := ":80"
			if router.isSecure || name == "websecure" || name == "https" {
				address = ":443"
			}
			add(name, address, router.Place)
		}
	}
	for _, router := range routers {
		for _, name := range router.points {
			if point := find(points, name); point != nil && router.isSecure {
				r.secure[point.name] = true
			}
		}
		if len(router.points) == 0 && router.isSecure {
			for _, point := range points {
				if strings.HasSuffix(point.field("address").text, "443") {
					r.secure[point.name] = true
				}
			}
		}
	}
	for _, point := range points {
		if tls := point.field("http", "tls"); tls.is() {
			r.secure[point.name] = true
			for _, router := range routers {
				if slices.Contains(router.points, point.name) {
					router.isSecure = true
				}
			}
		}
	}
	// An entry point is one listener: with TLS for all of its routers, or for none.
	for _, router := range routers {
		isMixed := slices.ContainsFunc(router.points, func(name string) bool { return r.secure[name] }) && !router.isSecure
		if isMixed {
			router.isSecure = true
			r.note(router.rule.Place, router.rule.text, "a listener has TLS for all, or for none: here with TLS, as other routers of the entry point")
		}
	}
	return points
}

// listener writes the listener of an entry point. isRedirected reports whether all of its requests are redirected to https.
func (r *reader) listener(point *node, routers []*router) (l *migrate.Section, isRedirected bool) {
	address := point.field("address")
	l = &migrate.Section{From: point.Place}
	l.Set("name", point.name, point.Place)
	text, protocol, _ := strings.Cut(address.text, "/")
	if protocol == "udp" {
		r.note(address.Place, address.text, "Sluice relays WebSocket and HTTP")
		return l, true
	}
	l.Set("address", migrate.Text(text), address.Place)
	r.draft.Listeners = append(r.draft.Listeners, l)
	if ips := point.field("forwardedHeaders", "trustedIPs"); ips.is() {
		l.Set("trusted_proxies", ips.values(), ips.Place)
	}
	if insecure := point.field("forwardedHeaders", "insecure"); insecure.isTrue() {
		l.SetNote("trusted_proxies", []string{"0.0.0.0/0", "::/0"}, insecure.Place, "from anywhere: name the load balancer instead")
	}
	if ips := point.field("proxyProtocol", "trustedIPs"); ips.is() {
		l.Set("proxy_protocol", true, ips.Place)
		l.Set("proxy_protocol_from", ips.values(), ips.Place)
		r.note(ips.Place, "proxyProtocol", "every connection has to begin with the header")
	}
	if insecure := point.field("proxyProtocol", "insecure"); insecure.isTrue() {
		l.Set("proxy_protocol", true, insecure.Place)
		l.SetNote("proxy_protocol_from", []string{"0.0.0.0/0", "::/0"}, insecure.Place, "from anywhere: name the load balancer instead")
	}
	redirection := point.field("http", "redirections", "entryPoint")
	if to := redirection.field("to"); to.is() {
		scheme := redirection.field("scheme")
		if !scheme.is() || scheme.text == "https" {
			l.Set("redirect_https", true, to.Place)
			status := 301
			if permanent := redirection.field("permanent"); permanent.is() && !permanent.isTrue() {
				status = 302
			}
			l.Set("redirect_status", status, to.Place)
			return l, true
		}
	}
	if r.secure[point.name] {
		l.SetNote("http2", "websocket", point.Place, "Traefik has it by default")
		r.tls(l, point, routers)
	}
	return l, false
}

// clientCA is where the authorities of clients are expected that the configuration has no file for.
const clientCA = "/etc/sluice/client-ca.pem"

// tls sets the certificates of a listener.
func (r *reader) tls(l *migrate.Section, point *node, routers []*router) {
	var certificates []any
	for _, c := range r.certificates {
		cert, key := c.field("certFile"), c.field("keyFile")
		if cert.is() && key.is() {
			certificates = append(certificates, migrate.Inline{{Name: "cert", Value: migrate.Text(cert.text), From: cert.Place}, {Name: "key", Value: migrate.Text(key.text), From: key.Place}})
		}
	}
	if certificates != nil {
		l.Set("tls.certificate", certificates, r.certificates[0].Place)
	}
	var domains []string
	var from migrate.Place
	var resolver *node
	for _, router := range routers {
		tls := router.field("tls")
		if !tls.field("certResolver").is() {
			tls = point.field("http", "tls")
		}
		name := tls.field("certResolver")
		if !router.isSecure || !name.is() || len(router.points) > 0 && !slices.Contains(router.points, point.name) {
			continue
		}
		if found := find(r.resolvers, name.text); found != nil {
			resolver = found
		}
		for _, domain := range r.domains(router, tls) {
			if !slices.Contains(domains, domain) {
				domains = append(domains, domain)
				from = name.Place
			}
		}
	}
	if domains != nil {
		l.Set("tls.acme.domains", migrate.Texts(domains), from)
		if resolver != nil {
			acme := resolver.field("acme")
			for _, key := range []struct{ of, to string }{{"email", "tls.acme.email"}, {"caServer", "tls.acme.directory"}} {
				if n := acme.field(key.of); n.is() {
					l.Set(key.to, migrate.Text(n.text), n.Place)
				}
			}
			for _, challenge := range []struct{ of, to string }{{"httpChallenge", "http-01"}, {"tlsChallenge", "tls-alpn-01"}} {
				if n := acme.field(challenge.of); n.is() {
					l.Set("tls.acme.challenges", []string{challenge.to}, n.Place)
				}
			}
		}
	}
	for _, option := range r.options {
		minimum, auth := option.field("minVersion"), option.field("clientAuth")
		if minimum.text == "VersionTLS13" {
			l.Set("tls.min_version", "1.3", minimum.Place)
		}
		files, kind := auth.field("caFiles"), auth.field("clientAuthType")
		all := files.values()
		switch {
		case len(all) > 0:
			l.Set("tls.client_ca", migrate.Text(all[0]), files.Place)
			if len(all) > 1 {
				r.note(files.Place, "caFiles: "+strings.Join(all, ", "), "tls.client_ca is one file: put them together. Until then only the first one counts")
			}
		case strings.HasPrefix(kind.text, "Require"):
			l.SetNote("tls.client_ca", clientCA, kind.Place, "put the certificates of the authorities there: without them the listener does not start")
		default:
			continue
		}
		switch kind.text {
		case "RequireAndVerifyClientCert", "RequireAnyClientCert":
			l.Set("tls.client_auth", "require", kind.Place)
		case "VerifyClientCertIfGiven", "RequestClientCert":
			l.Set("tls.client_auth", "request", kind.Place)
		}
	}
	if certificates == nil && domains == nil {
		l.SetNote("tls.self_signed", true, point.Place, "for trying out, as Traefik's own: no client trusts it")
	}
}

// domains returns the names for which certificates are obtained: those that are listed, or those of the rule.
func (r *reader) domains(router *router, tls *node) (domains []string) {
	add := func(name string, at migrate.Place) {
		switch {
		case strings.Contains(name, "*"):
			r.note(at, name, "a certificate for a wildcard needs a challenge by DNS, which Sluice does not have: put its files into tls.certificate")
		case strings.Contains(name, ".") && net.ParseIP(name) == nil && !slices.Contains(domains, name):
			domains = append(domains, name)
		}
	}
	for _, domain := range tls.field("domains").children() {
		main, sans := domain.field("main"), domain.field("sans")
		if main.is() {
			add(main.text, main.Place)
		}
		for _, name := range sans.values() {
			add(name, sans.Place)
		}
	}
	if domains == nil {
		for _, clause := range router.when {
			for _, host := range clause.Is.Hosts {
				add(host, router.rule.Place)
			}
		}
	}
	return domains
}
