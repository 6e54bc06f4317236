package traefik

import (
	"slices"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// reader collects what files say, and makes a draft of it.
type reader struct {
	draft  *migrate.Draft
	listed map[migrate.Skipped]bool
	roots  []*node // whose values have to be in the draft or listed

	entryPoints, resolvers                    []*node
	routers, services, middlewares, transport []*node
	certificates, options                     []*node
	isWritten                                 map[string]bool // pools that are written already

	secure map[string]bool // entry points with TLS
	cases  []migrate.Case
}

// Read reads the files of a configuration into a draft: what all of them say together. Its error names file and line.
func Read(files []string) (*migrate.Draft, error) {
	r := &reader{
		draft:     &migrate.Draft{Origin: "Traefik: " + strings.Join(files, ", ")},
		listed:    map[migrate.Skipped]bool{},
		secure:    map[string]bool{},
		isWritten: map[string]bool{},
	}
	for _, file := range files {
		documents, err := readFile(file)
		if err != nil {
			return nil, err
		}
		for _, root := range documents {
			r.document(root)
		}
	}
	if err := r.write(); err != nil {
		return nil, err
	}
	mentioned := r.draft.Mentioned()
	for _, root := range r.roots {
		r.skipRest(root, nil, mentioned)
	}
	return r.draft, nil
}

// document takes what a document has, by what kind of file it is of.
func (r *reader) document(root *node) {
	switch {
	case root.field("kind").is() && root.field("apiVersion").is():
		r.resource(root)
	case root.field("services").is() && !root.field("http").is():
		r.compose(root)
	default:
		r.collect(root)
		r.roots = append(r.roots, root)
	}
}

// collect takes what a static or dynamic configuration has.
func (r *reader) collect(root *node) {
	r.entryPoints = append(r.entryPoints, root.field("entryPoints").fields...)
	r.resolvers = append(r.resolvers, root.field("certificatesResolvers").fields...)
	http := root.field("http")
	r.routers = append(r.routers, http.field("routers").fields...)
	r.services = append(r.services, http.field("services").fields...)
	r.middlewares = append(r.middlewares, http.field("middlewares").fields...)
	r.transport = append(r.transport, http.field("serversTransports").fields...)
	r.certificates = append(r.certificates, root.field("tls", "certificates").children()...)
	r.options = append(r.options, root.field("tls", "options").fields...)
}

// compose takes the labels of the containers of a compose file, and the options by which Traefik itself is started.
func (r *reader) compose(root *node) {
	for _, container := range root.field("services").fields {
		tree := &node{Place: container.Place, name: "traefik"}
		labels := container.field("labels")
		if !labels.is() || labels.fields == nil && labels.list == nil {
			labels = container.field("deploy", "labels")
		}
		add := func(key, value string, at migrate.Place) {
			if rest, isOurs := strings.CutPrefix(strings.ToLower(key), "traefik."); isOurs {
				// Names of fields keep their case; a $ is doubled in compose files.
				if strings.Count(rest, ".") > mostDepth {
					r.note(at, key, "a label of so many parts has no meaning")
					return
				}
				tree.put(strings.Split(key[len(key)-len(rest):], "."), strings.ReplaceAll(value, "$$", "$"), at)
			}
		}
		for _, label := range labels.fields {
			add(label.name, label.text, label.Place)
		}
		for _, label := range labels.list {
			key, value, _ := strings.Cut(label.text, "=")
			add(key, value, label.Place)
		}
		if strings.Contains(container.field("image").text, "traefik") {
			static := &node{Place: container.Place}
			for _, option := range container.field("command").list {
				if key, value, hasValue := strings.Cut(strings.TrimLeft(option.text, "-"), "="); strings.HasPrefix(option.text, "--") && strings.Count(key, ".") <= mostDepth {
					if !hasValue {
						value = "true"
					}
					static.put(strings.Split(key, "."), value, option.Place)
				}
			}
			r.collect(static)
			r.roots = append(r.roots, static)
		}
		if len(tree.fields) == 0 {
			continue
		}
		r.roots = append(r.roots, tree)
		if enable := tree.field("enable"); enable.is() && !enable.isTrue() {
			continue
		}
		r.container(tree, container)
	}
}

// container gives the routers and services of labels what they have from their container: its name is the address, and its only service is
// that of routers which name none.
func (r *reader) container(tree, container *node) {
	http := tree.field("http")
	services := http.field("services").fields
	for _, service := range services {
		balancer := service.field("loadBalancer")
		port := balancer.field("server", "port")
		if url := balancer.field("server", "url"); url.is() || !port.is() {
			if url.is() {
				balancer.put([]string{"servers", "[0]", "url"}, url.text, url.Place)
			}
			continue
		}
		scheme := "http"
		if s := balancer.field("server", "scheme"); s.is() {
			scheme = s.text
		}
		balancer.put([]string{"servers", "[0]", "url"}, scheme+"://"+container.name+":"+port.text, port.Place)
	}
	routers := http.field("routers").fields
	if len(services) == 0 && len(routers) > 0 {
		port := portOf(container)
		name := container.name
		made := &node{Place: container.Place, name: name}
		made.put([]string{"loadBalancer", "servers", "[0]", "url"}, "http://"+container.name+":"+port, routers[0].field("rule").Place)
		services = []*node{made}
		http = &node{Place: http.Place, fields: append(http.fields[:len(http.fields):len(http.fields)], &node{Place: container.Place, name: "services", fields: services})}
	}
	for _, router := range routers {
		if !router.field("service").is() && len(services) == 1 {
			router.put([]string{"service"}, services[0].name, router.Place)
		}
	}
	r.collect(&node{Place: tree.Place, fields: []*node{{Place: tree.Place, name: "http", fields: http.fields}}})
}

// portOf returns the first port that a container exposes, or 80.
func portOf(container *node) string {
	for _, name := range []string{"expose", "ports"} {
		for _, port := range container.field(name).list {
			text := port.text[strings.LastIndexByte(port.text, ':')+1:]
			text, _, _ = strings.Cut(text, "/")
			if text != "" {
				return text
			}
		}
	}
	return "80"
}

// resource takes a custom resource of Kubernetes.
func (r *reader) resource(root *node) {
	spec := root.field("spec")
	name := root.field("metadata", "name").text
	r.roots = append(r.roots, &node{Place: root.Place, name: root.field("kind").text, fields: spec.fields})
	named := &node{Place: spec.Place, name: name, fields: spec.fields}
	switch root.field("kind").text {
	case "Middleware":
		r.middlewares = append(r.middlewares, named)
	case "ServersTransport":
		r.transport = append(r.transport, named)
	case "TLSOption":
		r.options = append(r.options, named)
	case "TraefikService":
		r.services = append(r.services, r.ofServices(named))
	case "IngressRoute":
		for i, route := range spec.field("routes").list {
			router := &node{Place: route.Place, name: name + "-" + strconv.Itoa(i+1)}
			for _, field := range route.fields {
				if field.name != "services" && field.name != "middlewares" {
					router.fields = append(router.fields, field)
				}
			}
			router.fields = append(router.fields, spec.field("entryPoints"), spec.field("tls"))
			router.fields = slices.DeleteFunc(router.fields, func(f *node) bool { return !f.is() })
			if route.field("middlewares").is() {
				middlewares := &node{Place: route.field("middlewares").Place, name: "middlewares", list: []*node{}}
				for _, m := range route.field("middlewares").list {
					at := m.field("name")
					middlewares.list = append(middlewares.list, &node{Place: at.Place, text: at.text})
				}
				router.fields = append(router.fields, middlewares)
			}
			service := r.ofServices(&node{Place: route.Place, name: router.name, fields: []*node{{Place: route.Place, name: "weighted", fields: []*node{route.field("services")}}}})
			r.services = append(r.services, service)
			router.put([]string{"service"}, service.name, route.Place)
			r.routers = append(r.routers, router)
		}
	}
}

// ofServices makes services of those that a resource names, and one that weighs them if there are several.
func (r *reader) ofServices(of *node) *node {
	weighted := &node{Place: of.Place, name: of.name}
	list := of.field("weighted", "services")
	all := &node{Place: list.Place, name: "services", list: []*node{}}
	for _, s := range list.list {
		name, port := s.field("name"), s.field("port")
		if !name.is() {
			continue
		}
		if s.field("kind").text != "TraefikService" {
			scheme := "http"
			if given := s.field("scheme"); given.is() {
				scheme = given.text
			} else if port.text == "443" {
				scheme = "https"
			}
			host := name.text
			if namespace := s.field("namespace"); namespace.is() {
				host += "." + namespace.text
			}
			made := &node{Place: s.Place, name: name.text}
			made.put([]string{"loadBalancer", "servers", "[0]", "url"}, scheme+"://"+host+":"+port.text, name.Place)
			balancer := made.field("loadBalancer")
			for _, field := range s.fields {
				if !slices.Contains([]string{"name", "port", "weight", "kind", "namespace", "scheme"}, field.name) {
					balancer.fields = append(balancer.fields, field)
				}
			}
			r.services = append(r.services, made)
		}
		all.list = append(all.list, s)
	}
	if len(all.list) == 1 {
		return &node{Place: of.Place, name: all.list[0].field("name").text}
	}
	weighted.fields = []*node{{Place: of.Place, name: "weighted", fields: []*node{all}}}
	return weighted
}

// find returns the node of a name; names may have a provider behind an @.
func find(nodes []*node, name string) *node {
	name, _, _ = strings.Cut(name, "@")
	for _, n := range nodes {
		if strings.EqualFold(n.name, name) && (n.fields != nil || n.list != nil) {
			return n
		}
	}
	return nil
}

// note lists a part of the configuration that isn't carried over as it is.
func (r *reader) note(at migrate.Place, text, why string) {
	key := migrate.Skipped{From: at, Text: text, Why: why}
	if !r.listed[key] {
		r.listed[key] = true
		r.draft.Skip(nil, at, text, why)
	}
}

// skipRest lists the values below a node that are neither in the draft nor listed.
func (r *reader) skipRest(n *node, path []string, mentioned map[migrate.Place]bool) {
	if n.name != "" {
		path = append(path[:len(path):len(path)], n.name)
	}
	if n.isLeaf() && !mentioned[n.Place] {
		text := strings.Join(path, ".")
		if isSecret(text) {
			r.note(n.Place, text+": ***", reason(text))
		} else {
			r.note(n.Place, text+": "+n.text, reason(text))
		}
	}
	for _, f := range n.fields {
		r.skipRest(f, path, mentioned)
	}
	for _, element := range n.list {
		r.skipRest(element, path, mentioned)
	}
}

// isSecret reports whether values at a path are credentials, or may be.
func isSecret(path string) bool {
	path = strings.ToLower(path)
	return slices.ContainsFunc([]string{"basicauth", "digestauth", "secret", "password", "token", "hmac", "plugin"}, func(part string) bool { return strings.Contains(path, part) })
}

// reason says why a value isn't carried over.
func reason(path string) string {
	path = strings.ToLower(strings.TrimPrefix(path, "traefik."))
	for _, known := range reasons {
		first, isFirst := strings.CutPrefix(known.part, "^")
		last, isLast := strings.CutSuffix(known.part, "$")
		if isLast && strings.HasSuffix(path, last) || isFirst && (path == first || strings.HasPrefix(path, first+".")) || !isFirst && strings.Contains(path, known.part) {
			return known.why
		}
	}
	return "Sluice has no such setting, or it has no effect here"
}

// reasons are those of values that are known, by a part of their path.
var reasons = []struct{ part, why string }{
	{"sourcerange", "part of allow of the routes, if they have one"},
	{".priority", "part of the order of routes"},
	{"basicauth", whyAuth},
	{"digestauth", whyAuth},
	{"forwardauth", whyAuth},
	{"^providers", "Sluice reads files: include"},
	{"^api", "[admin]"},
	{"^ping", "[admin]: GET /healthz"},
	{"^accesslog", "[log]"},
	{"^log", "[log]"},
	{"^metrics", "[admin]: GET /metrics"},
	{"^tracing", "[tracing]"},
	{"^global", "not needed"},
	{"^pilot", "not needed"},
	{"^experimental", "Sluice has no such setting"},
	{"^tcp", "Sluice relays WebSocket and HTTP"},
	{"^udp", "Sluice relays WebSocket and HTTP"},
	{"ratelimit", "rates count by client address and listener: [[listener]] handshake_rate, handshake_burst"},
	{"inflightreq", "[[listener]] max_sessions_per_ip, max_sessions of a backend"},
	{"compress", "plain answers are not compressed: the backend can do it"},
	{"circuitbreaker", "[pool.ejection] ejects a backend whose sessions fail"},
	{"contenttype", "not needed: Content-Type passes as it is"},
	{"accesscontrol", "CORS: the backend can answer it, or response_header has the fixed fields; origins of [[route]] are for WebSocket"},
	{"sslredirect", "redirect_https of [[listener]]"},
	{"sslhost", "redirect of a [[route]]"},
	{"sslproxyheaders", "trusted_proxies of [[listener]]"},
	{"hostsproxyheaders", "trusted_proxies of [[listener]]"},
	{"passtlsclientcert", "not needed: X-Client-Cert-Subject is set where the listener verifies certificates"},
	{"redirectregex", "redirect of a [[route]] with path_regexp"},
	{"errors", "answers of the gateway's own have a fixed text"},
	{"plugin", "Sluice has no such setting"},
	{"passhostheader", "not needed: the backend gets the client's Host"},
	{"responseforwarding", "not needed: nothing is held back"},
	{"dnschallenge", "certificates are obtained by http-01 and tls-alpn-01: for DNS put files into tls.certificate"},
	{".storage", "[listener.tls.acme] storage: a directory"},
	{"ciphersuites", "not needed: Go chooses the cipher suites"},
	{"curvepreferences", "not needed: Go chooses the curves"},
	{"snistrict", "Sluice has no such setting"},
	{"respondingtimeouts", "head_timeout of [[listener]], write_timeout of [[route]]"},
	{"lifecycle", "[gateway] drain, drain_delay"},
	{"^docker", "an address of a container has to be reachable for Sluice"},
	{"^enable", "part of the routes: without it a container has none"},
	{"tls.domains", "tls.acme.domains of the listener"},
	{"certresolver", "tls.acme of the listener"},
	{"mirroring", "requests are not mirrored"},
	{"failover", "backup = true of a backend"},
	{"maxresponsebodybytes", "not needed: nothing is held back"},
	{"memrequestbodybytes", "not needed: nothing is held back"},
	{"memresponsebodybytes", "not needed: nothing is held back"},
	{"retry.initialinterval", "not needed: another backend is tried at once"},
	{"forcedot", "not needed"},
	{"ipstrategy", "trusted_proxies of [[listener]] say whose X-Forwarded-For is believed"},
	{".http3", "HTTP/3 is not spoken"},
	{".chain.middlewares", "not needed: each middleware is carried over by itself"},
	{".entrypoints", "part of the listeners of routes"},
	{"routes.middlewares.name", "not needed: each middleware is carried over by itself"},
	{".middlewares$", "not needed: each middleware is carried over by itself"},
	{"redirections", "part of redirect_https"},
	{"redirectscheme", "part of redirect and redirect_status"},
	{"replacepathregex", "part of rewrite_path"},
	{"stripprefix", "not needed, or no route has this prefix"},
	{"serverstransport", "not needed: its keys are in the pool"},
	{".service", "part of the routes"},
	{".middlewares.", "no route has it: no router names it, or its routes can't have it"},
	{"tls", "part of the listener"},
	{".kind", "not needed"},
}
