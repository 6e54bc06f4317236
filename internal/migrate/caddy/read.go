package caddy

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// reader makes a draft of sites.
type reader struct {
	draft  *migrate.Draft
	listed map[migrate.Skipped]bool
	all    []*directive // those that have to be in the draft or listed

	httpPort, httpsPort string
	email, directory    migrate.Key // of acme, if the options have them
	trusted             migrate.Key
	proxyProtocol       migrate.Key
	isWithoutTLS        bool // auto_https off
	isWithoutRedirect   bool // auto_https disable_redirects
	redirectFrom        migrate.Place
	sites               []ranked
	redirected          []migrate.Case // to https
}

// Read reads the files of a configuration into a draft, each as a Caddyfile of its own. Its error names file and line.
func Read(files []string) (*migrate.Draft, error) {
	r := &reader{
		draft:    &migrate.Draft{Origin: "Caddy: " + strings.Join(files, ", ")},
		listed:   map[migrate.Skipped]bool{},
		httpPort: "80", httpsPort: "443",
	}
	for _, file := range files {
		sites, err := parse(file)
		if err != nil {
			return nil, err
		}
		for _, s := range sites {
			r.collect(s.block, false)
			if len(s.addresses) == 0 {
				r.options(s.block)
			}
		}
		for _, s := range sites {
			if len(s.addresses) > 0 && !strings.HasPrefix(s.addresses[0], "&(") {
				if err := r.site(s); err != nil {
					return nil, err
				}
			}
		}
	}
	r.redirections()
	names := []string{}
	for _, l := range r.draft.Listeners {
		for i, key := range l.Keys {
			if domains, isList := key.Value.([]string); isList {
				l.Keys[i].Value = migrate.Texts(domains)
			}
		}
		if name, isName := l.Get("name").(string); isName && l.Get("redirect_https") == nil {
			names = append(names, name)
		}
	}
	slices.SortStableFunc(r.sites, func(a, b ranked) int { return b.rank - a.rank })
	var cases []migrate.Case
	for _, site := range r.sites {
		cases = append(cases, site.cases...)
	}
	r.draft.AddRoutes(cases, names)
	mentioned := r.draft.Mentioned()
	for _, d := range r.all {
		if !mentioned[d.Place] {
			r.note(d.Place, d.text(), reason(d))
		}
	}
	return r.draft, nil
}

// ranked are the cases of a site. Caddy tries sites of one port in the order of their hosts.
type ranked struct {
	rank  int
	cases []migrate.Case
}

// hostRank ranks exact hosts over wildcards, longer ones over shorter ones, and none last.
func hostRank(m migrate.Match) int {
	switch {
	case len(m.Hosts) == 0:
		return 0
	case strings.HasPrefix(m.Hosts[0], "*"):
		return len(m.Hosts[0])
	}
	return 1 << 20
}

// collect notes all directives.
func (r *reader) collect(block []*directive, isCondition bool) {
	for _, d := range block {
		d.isCondition = isCondition || strings.HasPrefix(d.words[0], "@")
		for _, inner := range d.block {
			inner.isCredential = d.words[0] == "basic_auth" || d.words[0] == "basicauth" || d.words[0] == "acme_eab"
		}
		r.all = append(r.all, d)
		r.collect(d.block, d.isCondition)
	}
}

// note lists a directive that isn't carried over as it is. What is listed already isn't listed again.
func (r *reader) note(at migrate.Place, text, why string) { r.noteIn(nil, at, text, why) }

func (r *reader) noteIn(in *migrate.Section, at migrate.Place, text, why string) {
	key := migrate.Skipped{From: at, Text: text, Why: why}
	if !r.listed[key] {
		r.listed[key] = true
		r.draft.Skip(in, at, text, why)
	}
}

// options reads the global options.
func (r *reader) options(block []*directive) {
	for _, d := range block {
		value := ""
		if len(d.words) > 1 {
			value = d.words[1]
		}
		switch d.words[0] {
		case "http_port":
			r.httpPort = value
			r.note(d.Place, d.text(), "part of the addresses of listeners")
		case "https_port":
			r.httpsPort = value
			r.note(d.Place, d.text(), "part of the addresses of listeners")
		case "email":
			r.email = migrate.Key{Name: "tls.acme.email", Value: migrate.Text(value), From: d.Place}
		case "acme_ca":
			r.directory = migrate.Key{Name: "tls.acme.directory", Value: migrate.Text(value), From: d.Place}
		case "auto_https":
			r.isWithoutTLS = value == "off"
			r.isWithoutRedirect = value == "off" || value == "disable_redirects"
			r.note(d.Place, d.text(), "part of the listeners")
		case "servers":
			r.servers(d)
		}
	}
}

// servers reads the options of listeners.
func (r *reader) servers(of *directive) {
	for _, d := range of.block {
		switch d.words[0] {
		case "trusted_proxies":
			if len(d.words) > 2 && d.words[1] == "static" {
				if clients, err := clientsOf(d.words[2:]); err == nil {
					r.trusted = migrate.Key{Name: "trusted_proxies", Value: clients, From: d.Place}
				}
			}
		case "listener_wrappers":
			for _, wrapper := range d.block {
				if wrapper.words[0] != "proxy_protocol" {
					continue
				}
				allowed := []string{"0.0.0.0/0", "::/0"}
				r.proxyProtocol = migrate.Key{Name: "proxy_protocol_from", Value: allowed, From: wrapper.Place}
				for _, option := range wrapper.block {
					if clients, err := clientsOf(option.arguments()); err == nil && option.words[0] == "allow" {
						r.proxyProtocol = migrate.Key{Name: "proxy_protocol_from", Value: clients, From: option.Place}
					}
				}
			}
		}
	}
}

// An address is that of a site.
type address struct {
	host, port, path string
	isSecure         bool
	isInternal       bool // of no public name: Caddy makes the certificate
}

// parseAddress takes the address of a site apart.
func (r *reader) parseAddress(text string) (a address, err error) {
	scheme, rest, hasScheme := strings.Cut(text, "://")
	if !hasScheme {
		scheme, rest = "", text
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		rest, a.path = rest[:i], rest[i:]
	}
	a.host = rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "}") && !strings.HasSuffix(rest, "]") {
		a.host, a.port = rest[:i], rest[i+1:]
	}
	isVariable := strings.Contains(a.host, "${")
	a.host = migrate.LowerHost(a.host)
	switch {
	case scheme != "" && scheme != "http" && scheme != "https":
		return a, fmt.Errorf("an address of http or https")
	case strings.Contains(a.port, "-") || strings.Contains(a.host, "{") && !isVariable || strings.Contains(a.port, "{"):
		return a, fmt.Errorf("name one host, and one port")
	}
	if a.host == "*" {
		a.host = ""
	}
	a.isSecure = scheme == "https" || scheme == "" && (a.port == r.httpsPort || a.host != "" && a.port != r.httpPort && !r.isWithoutTLS)
	if a.port == "" {
		a.port = r.httpPort
		if a.isSecure || a.host != "" && scheme == "" {
			a.port = r.httpsPort
		}
	}
	a.isInternal = a.host == "" || a.host == "localhost" || net.ParseIP(strings.Trim(a.host, "[]")) != nil || !strings.Contains(a.host, ".") && !isVariable ||
		slices.ContainsFunc([]string{".localhost", ".local", ".internal", ".home.arpa"}, func(end string) bool { return strings.HasSuffix(a.host, end) })
	return a, nil
}

// site reads a site: its listeners, and what its directives make of requests.
func (r *reader) site(s *site) error {
	var matches []migrate.Match
	sc := &scope{reader: r, matchers: map[string]*directive{}}
	bind := ""
	var tls *directive
	for _, d := range s.block {
		switch d.words[0] {
		case "bind":
			if len(d.words) > 1 {
				bind = d.words[1]
				if len(d.words) > 2 {
					r.note(d.Place, d.text(), "a [[listener]] has one address: here the first one")
				}
			}
		case "tls":
			tls = d
		}
	}
	for _, text := range s.addresses {
		a, err := r.parseAddress(text)
		if err != nil {
			r.note(s.Place, text, err.Error())
			continue
		}
		if tls != nil && !a.isSecure && !strings.HasPrefix(text, "http://") {
			a.isSecure = true
		}
		listener := r.listener(a, bind, s.Place)
		name, _ := listener.Get("name").(string)
		if a.isSecure {
			sc.secure = append(sc.secure, name)
			r.certificate(listener, a, tls, s.Place)
		} else {
			sc.plain = append(sc.plain, name)
		}
		match := migrate.Match{Listeners: []string{name}}
		if a.host != "" {
			hosts, err := hostsOf([]string{a.host})
			if err != nil {
				r.note(s.Place, text, err.Error())
				continue
			}
			match.Hosts = hosts
		}
		match = match.At("host", s.Place).At("listener", s.Place)
		if a.path != "" && a.path != "/*" {
			within, err := sc.paths([]string{a.path}, s.Place, text)
			if err != nil {
				r.note(s.Place, text, err.Error())
				continue
			}
			match, _ = match.And(within[0])
		}
		matches = append(matches, match)
		if a.isSecure && a.port == r.httpsPort && !r.isWithoutRedirect && !strings.HasPrefix(text, "https://") {
			r.redirectFrom = s.Place
			redirect := migrate.Redirect(s.Place, "https://{host}{uri}", 308)
			r.redirected = append(r.redirected, migrate.Case{Match: migrate.Match{Hosts: match.Hosts}.At("host", s.Place), Then: redirect})
		}
	}
	for _, match := range join(matches) {
		sc.within = match
		cases, err := sc.cases(s.block, &migrate.Answer{From: s.Place})
		if err != nil {
			return fmt.Errorf("%v: %w", s.Place, err)
		}
		guarded := migrate.Guard(cases, func(c migrate.Case) {
			r.note(c.Then.From, "a matcher of client addresses", "the address of a client does not choose a route: allow and deny of a route refuse clients with 403")
		}, func(c migrate.Case) {
			r.note(c.Then.From, "a matcher of client addresses", "it refuses more here: all requests of routes of which the original refuses a part")
		})
		r.sites = append(r.sites, ranked{hostRank(match), migrate.Trim(guarded)})
	}
	return nil
}

// join makes one match of those that differ in their hosts alone.
func join(matches []migrate.Match) (joined []migrate.Match) {
	for _, m := range matches {
		i := slices.IndexFunc(joined, func(has migrate.Match) bool {
			return slices.Equal(has.Listeners, m.Listeners) && has.Path == m.Path && has.PathExact == m.PathExact && has.PathRegexp == m.PathRegexp && has.Hosts != nil && m.Hosts != nil
		})
		if i < 0 {
			joined = append(joined, m)
			continue
		}
		joined[i].Hosts = append(slices.Clone(joined[i].Hosts), m.Hosts...)
	}
	return joined
}

// listener returns the listener of an address; sites share it.
func (r *reader) listener(a address, bind string, at migrate.Place) *migrate.Section {
	where := bind + ":" + a.port
	if strings.HasPrefix(bind, "unix/") {
		where = "unix:" + strings.TrimPrefix(bind, "unix/")
	}
	for _, l := range r.draft.Listeners {
		if l.Get("address") == where {
			return l
		}
	}
	name := "port-" + a.port
	switch {
	case a.port == r.httpsPort && a.isSecure:
		name = "https"
	case a.port == r.httpPort && !a.isSecure:
		name = "http"
	}
	for number := 2; slices.ContainsFunc(r.draft.Listeners, func(l *migrate.Section) bool { return l.Get("name") == name }); number++ {
		name = fmt.Sprintf("port-%s-%d", a.port, number)
	}
	l := &migrate.Section{From: at}
	l.Set("name", name, at)
	l.Set("address", where, at)
	if a.isSecure {
		l.SetNote("http2", "websocket", at, "Caddy has it by default")
	}
	if r.trusted.Name != "" {
		l.Set(r.trusted.Name, r.trusted.Value, r.trusted.From)
	}
	if r.proxyProtocol.Name != "" {
		l.Set("proxy_protocol", true, r.proxyProtocol.From)
		l.Set(r.proxyProtocol.Name, r.proxyProtocol.Value, r.proxyProtocol.From)
	}
	r.draft.Listeners = append(r.draft.Listeners, l)
	return l
}

// certificate adds the certificate of a site to its listener.
func (r *reader) certificate(l *migrate.Section, a address, tls *directive, at migrate.Place) {
	isInternal := a.isInternal
	if tls != nil {
		arguments := tls.arguments()
		switch {
		case len(arguments) == 2:
			pair := migrate.Inline{{Name: "cert", Value: migrate.Text(arguments[0]), From: tls.Place}, {Name: "key", Value: migrate.Text(arguments[1]), From: tls.Place}}
			certificates, _ := l.Get("tls.certificate").([]any)
			if !strings.Contains(valueText(certificates), valueText(pair)) {
				l.Set("tls.certificate", append(certificates, pair), tls.Place)
			}
			r.selfSigned(l, false, at)
			r.tlsOptions(l, tls)
			return
		case len(arguments) == 1 && arguments[0] == "internal":
			isInternal = true
		case len(arguments) == 1:
			r.email = migrate.Key{Name: "tls.acme.email", Value: migrate.Text(arguments[0]), From: tls.Place}
		}
		r.tlsOptions(l, tls)
	}
	if isInternal {
		if tls != nil {
			at = tls.Place
		}
		r.selfSigned(l, true, at)
		return
	}
	if strings.HasPrefix(a.host, "*.") {
		r.noteIn(l, at, a.host, "a certificate for a wildcard needs a challenge by DNS, which Sluice does not have: put its files into tls.certificate")
		r.selfSigned(l, true, at)
		return
	}
	domains, _ := l.Get("tls.acme.domains").([]string)
	if !slices.Contains(domains, a.host) {
		l.Set("tls.acme.domains", append(domains, a.host), at)
	}
	r.selfSigned(l, false, at)
	for _, key := range []migrate.Key{r.email, r.directory} {
		if key.Name != "" {
			l.Set(key.Name, key.Value, key.From)
		}
	}
}

// selfSigned sets the certificate for trying out of a listener that has no other one, and takes it away from one that has.
func (r *reader) selfSigned(l *migrate.Section, isWanted bool, at migrate.Place) {
	hasOther := l.Get("tls.certificate") != nil || l.Get("tls.acme.domains") != nil
	if hasOther {
		l.Keys = slices.DeleteFunc(l.Keys, func(k migrate.Key) bool { return k.Name == "tls.self_signed" })
	}
	if isWanted && hasOther {
		r.noteIn(l, at, "tls internal", "there is no authority within Sluice: put a certificate of your own into tls.certificate")
	} else if isWanted {
		l.SetNote("tls.self_signed", true, at, "for trying out: no client trusts it")
	}
}

// tlsOptions sets what the block of a tls directive says.
func (r *reader) tlsOptions(l *migrate.Section, tls *directive) {
	for _, d := range tls.block {
		value := ""
		if len(d.words) > 1 {
			value = d.words[1]
		}
		switch d.words[0] {
		case "protocols":
			if value == "tls1.3" {
				l.Set("tls.min_version", "1.3", d.Place)
			} else {
				l.Set("tls.min_version", "1.2", d.Place)
			}
		case "ca":
			l.Set("tls.acme.directory", migrate.Text(value), d.Place)
		case "client_auth":
			for _, option := range d.block {
				last := option.words[len(option.words)-1]
				switch option.words[0] {
				case "trusted_ca_cert_file", "trust_pool":
					if option.words[0] == "trust_pool" && (len(option.words) != 3 || option.words[1] != "file") {
						continue
					}
					l.Set("tls.client_ca", migrate.Text(last), option.Place)
					if l.Get("tls.client_auth") == nil {
						l.Set("tls.client_auth", "require", d.Place)
					}
				case "mode":
					switch last {
					case "require_and_verify":
						l.Set("tls.client_auth", "require", option.Place)
					case "verify_if_given":
						l.Set("tls.client_auth", "request", option.Place)
					}
				}
			}
		}
	}
}

// redirections adds what Caddy does at the port of http: it redirects to https.
func (r *reader) redirections() {
	if r.redirected == nil {
		return
	}
	for _, l := range r.draft.Listeners {
		name, _ := l.Get("name").(string)
		if name != "http" {
			continue
		}
		for _, c := range r.redirected { // beside the sites of http
			c.Listeners = []string{name}
			r.sites = append(r.sites, ranked{hostRank(c.Match), []migrate.Case{c}})
		}
		return
	}
	l := r.listener(address{port: r.httpPort}, "", r.redirectFrom)
	l.SetNote("redirect_https", true, r.redirectFrom, "as Caddy does by default; challenges of ACME are still answered")
	l.Set("redirect_status", 308, r.redirectFrom)
}
