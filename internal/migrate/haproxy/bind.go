package haproxy

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// binds makes a listener of each address that a proxy binds, and notes their names in its conditions.
func (r *reader) binds(s *section, c *conditions) {
	var lines []*line
	addresses := 0
	for _, l := range s.all() {
		if l.words[0] == "bind" && len(l.words) > 1 {
			lines = append(lines, l)
			addresses += strings.Count(l.words[1], ",") + 1
		}
	}
	for _, l := range lines {
		l.isUsed = true
		for text := range strings.SplitSeq(l.words[1], ",") {
			address, err := bindAddress(text, l)
			if err != nil {
				r.note(l, l.text(), err.Error())
				continue
			}
			name := l.after("name")
			if name == "" {
				name = s.name
				if addresses > 1 {
					name += "-" + strings.Trim(address[strings.LastIndexAny(address, ":/")+1:], "${}")
				}
			}
			for number := 2; slices.ContainsFunc(r.draft.Listeners, func(has *migrate.Section) bool { return has.Get("name") == name }); number++ {
				name = fmt.Sprintf("%s-%d", s.name, number)
			}
			listener := &migrate.Section{From: l.Place}
			listener.Set("name", name, s.Place)
			listener.Set("address", migrate.Text(address), l.Place)
			r.draft.Listeners = append(r.draft.Listeners, listener)
			if r.bindOptions(listener, l) {
				c.secure = append(c.secure, name)
			} else {
				c.plain = append(c.plain, name)
			}
			r.listenerKeys(listener, s)
		}
	}
}

// bindAddress returns an address as Sluice has it.
func bindAddress(text string, l *line) (string, error) {
	for _, kind := range []string{"abns@", "fd@", "sockpair@", "quic4@", "quic6@", "udp@"} {
		if strings.HasPrefix(text, kind) {
			return "", fmt.Errorf("%s can't be listened at", kind)
		}
	}
	text = strings.TrimPrefix(text, "unix@")
	if strings.HasPrefix(text, "/") {
		return "unix:" + text, nil
	}
	family := "0.0.0.0"
	if rest, is6 := strings.CutPrefix(text, "ipv6@"); is6 {
		text, family = rest, "[::]"
	}
	text = strings.TrimPrefix(strings.TrimPrefix(text, "ipv4@"), "tcp@")
	i := strings.LastIndexByte(text, ':')
	if at := strings.Index(text, "${"); at >= 0 && (i < 0 || strings.Contains(text[at:], ":-")) {
		return "", fmt.Errorf("write the address with its port")
	}
	if i < 0 {
		return "", fmt.Errorf("no port")
	}
	host, port := text[:i], text[i+1:]
	if strings.Contains(port, "-") && !strings.Contains(port, "$") {
		return "", fmt.Errorf("a range of ports: a [[listener]] has one")
	}
	switch {
	case host == "" || host == "*":
		host = family
	case host == "::" || host == "[::]":
		host = "[::]"
	case strings.Contains(host, ":") && !strings.HasPrefix(host, "["):
		host = "[" + host + "]"
	}
	if l.has("v4v6") {
		host = "[::]"
	}
	return host + ":" + port, nil
}

// bindOptions sets the keys that the words behind a bind's address mean. It reports whether the listener has TLS.
func (r *reader) bindOptions(listener *migrate.Section, l *line) (isSecure bool) {
	isSecure = l.has("ssl")
	var certificates []any
	for i := 2; i < len(l.words); i++ {
		word := l.words[i]
		value := ""
		if i+1 < len(l.words) {
			value = l.words[i+1]
		}
		switch word {
		case "ssl", "v4v6", "v6only", "tfo", "defer-accept", "strict-sni", "no-sslv3", "no-tlsv10", "no-tlsv11", "no-tls-tickets", "prefer-client-ciphers":
		case "crt":
			i++
			if isDirectory(value) {
				r.noteIn(listener, l, "crt "+value, "name each of the certificates in the directory in tls.certificate")
				continue
			}
			certificates = append(certificates, migrate.Inline{{Name: "cert", Value: value, From: l.Place}, {Name: "key", Value: value, From: l.Place}})
		case "alpn":
			i++
			if slices.Contains(strings.Split(value, ","), "h2") {
				listener.Set("http2", "websocket", l.Place)
			}
		case "accept-proxy":
			listener.Set("proxy_protocol", true, l.Place)
			listener.SetNote("proxy_protocol_from", []string{"0.0.0.0/0", "::/0"}, l.Place, "from anywhere, as HAProxy takes it: name the load balancer instead")
		case "verify":
			i++
			switch value {
			case "required":
				listener.Set("tls.client_auth", "require", l.Place)
			case "optional":
				listener.Set("tls.client_auth", "request", l.Place)
			}
		case "ca-file":
			i++
			listener.Set("tls.client_ca", migrate.Text(value), l.Place)
		case "ssl-min-ver":
			i++
			if value == "TLSv1.3" {
				listener.Set("tls.min_version", "1.3", l.Place)
			}
		case "mode", "user", "group":
			i++
			switch word {
			case "user":
				word = "owner"
			case "mode":
				value = "0" + strings.TrimLeft(value, "0")
			}
			listener.Set(word, value, l.Place)
		case "maxconn":
			i++
			if n, err := count(value); err == nil {
				listener.Set("max_connections", n, l.Place)
			}
		case "name", "backlog", "process", "thread", "nbconn", "id", "level":
			i++
		case "ciphers", "ciphersuites", "curves", "ecdhe":
			i++
			r.noteIn(listener, l, word+" "+value, "not needed: Go chooses the cipher suites and curves")
		default:
			r.noteIn(listener, l, word, "Sluice has no such setting")
		}
	}
	if !isSecure {
		return false
	}
	if certificates != nil {
		listener.SetNote("tls.certificate", certificates, l.Place, "both are in one file, as HAProxy wants them")
	} else {
		listener.SetNote("tls.self_signed", true, l.Place, "for trying out, until tls.certificate has the files")
	}
	return true
}

// isDirectory reports whether a name of certificates seems to be that of a directory.
func isDirectory(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir() || strings.HasSuffix(name, "/") || path.Ext(name) == ""
}

// listenerKeys sets the keys of a listener that its proxy's other lines mean.
func (r *reader) listenerKeys(listener *migrate.Section, s *section) {
	for _, l := range s.all() {
		switch {
		case l.words[0] == "timeout" && len(l.words) > 2 && l.words[1] == "http-request":
			if d, err := duration(l.words[2]); err == nil && d != "0s" {
				listener.Set("head_timeout", d, l.Place)
				l.isUsed = true
			}
		case l.words[0] == "maxconn" && len(l.words) > 1:
			if n, err := count(l.words[1]); err == nil {
				listener.Set("max_connections", n, l.Place)
				l.isUsed = true
			}
		}
	}
}
