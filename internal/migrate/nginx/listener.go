package nginx

import (
	"cmp"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// A listen is a listen of a server.
type listen struct {
	host, port string // port "unix" for a Unix socket, whose path is host
	options    map[string]bool
	place      migrate.Place
	also       []migrate.Place // of other listens that are one listener with it
}

// A listener is a socket with the servers that listen at it.
type listener struct {
	listen
	name      string
	servers   []*server // the first one is the default one
	section   *migrate.Section
	redirects bool // the section has redirect_https: no request gets to a route
}

// parseListen reads a listen.
func parseListen(d *directive) listen {
	l := listen{host: "0.0.0.0", port: "80", options: map[string]bool{}, place: d.place}
	for _, arg := range d.args[min(1, len(d.args)):] {
		l.options[arg] = true
	}
	address := d.arg(0)
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		l.host, l.port = path, "unix"
		return l
	}
	if allDigits.MatchString(address) {
		l.port = address
		return l
	}
	if host, port, err := net.SplitHostPort(address); err == nil {
		l.host, l.port = host, port
	} else if address != "" {
		l.host = strings.Trim(address, "[]")
	}
	if l.host == "*" {
		l.host = "0.0.0.0"
	}
	return l
}

var allDigits = regexp.MustCompile(`^[0-9]+$`)

func (l *listen) isWildcard() bool { return l.host == "0.0.0.0" || l.host == "::" }

// address returns the address as a listener has it.
func (l *listen) address() string {
	if l.port == "unix" {
		return "unix:" + l.host
	}
	return net.JoinHostPort(l.host, l.port)
}

// makeListeners makes the listeners of all servers. Those of one port are one if one of them is for all addresses: that one gets the
// connections of the others too.
func (r *reader) makeListeners() {
	for _, s := range r.servers {
		for i := range s.listens {
			r.joinListener(s.listens[i], s)
		}
	}
	for _, l := range r.listeners {
		slices.SortStableFunc(l.servers, func(a, b *server) int {
			return cmp.Compare(l.defaultRank(a), l.defaultRank(b))
		})
		l.name = r.nameOf(l)
	}
}

// defaultRank is 0 for the server that is named as the default one.
func (l *listener) defaultRank(s *server) int {
	for _, listen := range s.listens {
		if l.serves(&listen) && (listen.options["default_server"] || listen.options["default"]) {
			return 0
		}
	}
	return 1
}

// serves reports whether connections to an address come to the listener.
func (l *listener) serves(other *listen) bool {
	return l.port == other.port && (l.host == other.host || l.port != "unix" && (l.isWildcard() || other.isWildcard()))
}

// joinListener adds a server to the listener of an address, which is made if there is none.
func (r *reader) joinListener(of listen, s *server) {
	for _, l := range r.listeners {
		if !l.serves(&of) {
			continue
		}
		if l.host != of.host {
			if !l.isWildcard() || !of.isWildcard() {
				r.draft.Skip(nil, of.place, "listen "+of.address(), "a socket for one address beside one for all at the same port: all servers get the connections of both")
			}
			if of.isWildcard() {
				l.host = of.host
			}
			if l.isWildcard() && of.isWildcard() {
				l.host = "::" // of both families
			}
		}
		for option := range of.options {
			l.options[option] = true
		}
		l.also = append(l.also, of.place)
		if !slices.Contains(l.servers, s) {
			l.servers = append(l.servers, s)
		}
		return
	}
	l := &listener{listen: of, servers: []*server{s}}
	l.options = maps.Clone(of.options) // those of other listens are added
	r.listeners = append(r.listeners, l)
}

// nameOf returns a name for a listener: http or https for the usual ports, else with the port, and the address if another one has the port.
func (r *reader) nameOf(l *listener) string {
	name := "http"
	if l.hasTLS() {
		name = "https"
	}
	switch {
	case l.port == "unix":
		return "unix-" + strings.Trim(notInName.ReplaceAllString(l.host, "-"), "-")
	case l.port != map[string]string{"http": "80", "https": "443"}[name]:
		name += "-" + l.port
	}
	for _, other := range r.listeners {
		if other != l && other.port == l.port {
			name += "-" + l.host
			break
		}
	}
	return name
}

var notInName = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// hasTLS reports whether connections are secured: by the listen, or by `ssl on` of former versions.
func (l *listener) hasTLS() bool {
	return l.options["ssl"] || slices.ContainsFunc(l.servers, func(s *server) bool { return s.level.isOn("ssl") })
}

// listenerOf returns the section of the first listener of a server's block, or nil.
func (r *reader) listenerOf(server *directive) *migrate.Section {
	for _, l := range r.listeners {
		for _, s := range l.servers {
			if s.directive == server {
				return l.section
			}
		}
	}
	return nil
}

// write writes the section of the listener.
func (l *listener) write(r *reader) {
	first := l.servers[0]
	s := &migrate.Section{From: l.place}
	l.section = s
	s.Set("name", l.name, l.place)
	s.Keys = append(s.Keys, migrate.Key{Name: "address", Value: l.address(), From: l.place, Also: l.also})
	l.writeHTTPS(r)
	l.writeRealIP(r)
	if d := first.level.last("client_header_timeout"); d != nil {
		r.setDuration(s, "head_timeout", d)
	}
	l.writeLimits(r)
	if l.hasTLS() {
		l.writeTLS(r)
	}
	if from, isSpoken := l.http2(); isSpoken {
		s.SetNote("http2", "http", from, "\"websocket\" would let browsers have WebSockets over it too")
	}
	r.draft.Listeners = append(r.draft.Listeners, s)
}

// http2 reports whether clients may speak HTTP/2, and where it says so.
func (l *listener) http2() (migrate.Place, bool) {
	for _, s := range l.servers {
		if d := s.level.last("http2"); d != nil && d.arg(0) == "on" {
			return d.place, true
		}
	}
	return l.place, l.options["http2"]
}

// writeHTTPS makes the listener redirect to https if that is all that its servers do.
func (l *listener) writeHTTPS(r *reader) {
	status := 0
	for _, s := range l.servers {
		d := s.redirectHTTPS(r)
		if d == nil || l.hasTLS() {
			return
		}
		if of := redirectStatus(d); status == 0 || status == of {
			status = of
		} else {
			return
		}
	}
	l.redirects = true
	for _, s := range l.servers {
		d := s.redirectHTTPS(r)
		d.isRead = true
		l.section.Set("redirect_https", true, d.place)
		l.section.Set("redirect_status", status, d.place)
		for _, name := range s.level.own("server_name") {
			r.skip(name, "the listener redirects every request, whatever its host is")
		}
	}
}

// writeRealIP writes what says who the client is.
func (l *listener) writeRealIP(r *reader) {
	first := l.servers[0].level
	var senders []*directive
	for _, d := range first.all("set_real_ip_from") {
		if d.arg(0) == "unix:" {
			r.skip(d, "peers of a Unix socket are always believed")
			continue
		}
		senders = append(senders, d)
	}
	header := first.last("real_ip_header")
	isByHeader := header == nil || !strings.EqualFold(header.arg(0), "proxy_protocol")
	if l.options["proxy_protocol"] {
		l.section.Set("proxy_protocol", true, l.place)
		if len(senders) == 0 {
			l.section.SetNote("proxy_protocol_from", []string{"0.0.0.0/0", "::/0"}, l.place, "as nginx, which takes it from any; better: the addresses of the load balancers alone")
		} else {
			l.section.Keys = append(l.section.Keys, keyOf("proxy_protocol_from", firstArgs(senders), senders))
		}
	}
	if len(senders) > 0 && isByHeader {
		l.section.Keys = append(l.section.Keys, keyOf("trusted_proxies", firstArgs(senders), senders))
		if header == nil || !strings.EqualFold(header.arg(0), "X-Forwarded-For") {
			at := first.last("set_real_ip_from")
			if header != nil {
				at = header
			}
			r.skip(at, "the client's address is read from X-Forwarded-For, which the proxies of trusted_proxies have to send")
		}
	}
	if d := first.last("real_ip_recursive"); d != nil {
		if d.arg(0) != "on" {
			r.skip(d, "X-Forwarded-For is read from its end up to the first address that is not one of trusted_proxies")
		}
	}
}

// writeTLS writes the certificates of all servers.
func (l *listener) writeTLS(r *reader) {
	var pairs []any
	first := l.servers[0]
	seen := map[string]bool{}
	for _, s := range l.servers {
		certs, keys := s.level.all("ssl_certificate"), s.level.all("ssl_certificate_key")
		for i, d := range certs {
			if i >= len(keys) {
				break
			}
			cert, key := d.arg(0), keys[i].arg(0)
			switch {
			case strings.Contains(cert+key, "$") || strings.HasPrefix(cert, "data:") || strings.HasPrefix(key, "engine:"):
				r.skip(d, "certificates are files: [listener.tls] has a list of them, and clients choose by name")
			case !seen[cert+"\x00"+key]:
				seen[cert+"\x00"+key] = true
				pairs = append(pairs, migrate.Inline{{Name: "cert", Value: cert, From: d.place, Also: []migrate.Place{keys[i].place}}, {Name: "key", Value: key, From: keys[i].place}})
			}
		}
	}
	if len(pairs) > 0 {
		of := pairs[0].(migrate.Inline)[0]
		l.section.Keys = append(l.section.Keys, migrate.Key{Name: "tls.certificate", Value: pairs, From: of.From, Also: of.Also})
	} else {
		l.section.SetNote("tls.self_signed", true, l.place, "there is no certificate: set tls.certificate or tls.acme")
	}
	if d := first.level.last("ssl_protocols"); d != nil {
		least := "1.2"
		if !slices.ContainsFunc(d.args, func(s string) bool { return s != "TLSv1.3" }) {
			least = "1.3"
		}
		l.section.Set("tls.min_version", least, d.place)
		if slices.ContainsFunc(d.args, func(s string) bool { return s == "TLSv1" || s == "TLSv1.1" || strings.HasPrefix(s, "SSL") }) {
			r.skip(d, "TLS 1.2 is the least version that is spoken")
		}
	}
	l.writeClientAuth(r)
}

// writeClientAuth writes what certificates clients need. It is one for all servers of a listener.
func (l *listener) writeClientAuth(r *reader) {
	first := l.servers[0].level.value("ssl_verify_client")
	for _, s := range l.servers {
		if d := s.level.last("ssl_verify_client"); d != nil && d.arg(0) != first {
			r.skip(d, "certificates of clients are asked for by all of a listener: give the server a port of its own. Until then its routes refuse every client")
			s.isUnprotected = d
		}
	}
	verify, ca := l.servers[0].level.last("ssl_verify_client"), l.servers[0].level.last("ssl_client_certificate")
	switch {
	case verify == nil || verify.arg(0) == "off":
	case ca == nil || verify.arg(0) == "optional_no_ca":
		r.skip(verify, "a certificate that no authority of client_ca has signed ends the handshake")
	default:
		auth := "require"
		if verify.arg(0) == "optional" {
			auth = "request"
		}
		l.section.Set("tls.client_auth", auth, verify.place)
		l.section.Set("tls.client_ca", ca.arg(0), ca.place)
	}
}
