package reach

import (
	"slices"
	"strings"

	"sluice/balancer"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// A returnWay turns what a backend says of its own addresses back into what the client knows. Immutable.
type returnWay struct {
	from, to   string   // the beginnings of paths at the backend and at the client, without a slash at their ends
	own        []string // hosts by which the backend knows itself
	clientHost string   // the Host that the client has sent
}

func newReturnWay(r *route.Route, req *upgrade.Request, b *balancer.Backend) *returnWay {
	w := &returnWay{from: strings.TrimRight(r.PathPrefix, "/"), to: r.ClientPrefix, own: []string{b.Authority()}, clientHost: string(req.Host())}
	if r.HostHeader != "" && r.HostHeader != route.HostOfBackend {
		w.own = append(w.own, r.HostHeader)
	}
	return w
}

// rewrite returns what the client gets as the value of a field: another one of Location and Set-Cookie.
func (w *returnWay) rewrite(name, value string) string {
	switch {
	case strings.EqualFold(name, "Location"):
		return w.location(value)
	case strings.EqualFold(name, "Set-Cookie"):
		return w.cookie(value)
	default:
		return value
	}
}

// location turns an absolute path or a URL of the backend into a path of the client's, and the path in a URL with the client's own host, whose
// scheme may be another one. Any other reference stays as it is: one to a path that the route doesn't lead to, to another host, or a
// relative one.
func (w *returnWay) location(value string) string {
	origin, rest := "", value
	if scheme, after, isURL := cutScheme(value); isURL {
		end := strings.IndexAny(after, "/?#")
		if end < 0 {
			end = len(after)
		}
		host := after[:end]
		if rest = after[end:]; !strings.HasPrefix(rest, "/") {
			rest = "/" + rest
		}
		isSame := func(other string) bool { return strings.EqualFold(trimPort(host, scheme), trimPort(other, scheme)) }
		switch {
		case isSame(w.clientHost):
			origin = value[:len(value)-len(after)+end]
		case !slices.ContainsFunc(w.own, isSame):
			return value
		}
	}
	end := strings.IndexAny(rest, "?#")
	if end < 0 {
		end = len(rest)
	}
	path, isMapped := w.path(rest[:end])
	if !isMapped {
		return value
	}
	return origin + path + rest[end:]
}

// cutScheme cuts off the beginning of a URL before its host. scheme is "" in "//host".
func cutScheme(value string) (scheme, rest string, isURL bool) {
	if rest, isURL = strings.CutPrefix(value, "//"); isURL {
		return "", rest, true
	}
	for _, scheme := range []string{"http", "https", "ws", "wss"} {
		if n := len(scheme) + len("://"); len(value) >= n && strings.EqualFold(value[:n], scheme+"://") {
			return scheme, value[n:], true
		}
	}
	return "", "", false
}

// trimPort returns a host without the port of a scheme.
func trimPort(host, scheme string) string {
	switch scheme {
	case "http", "ws":
		return strings.TrimSuffix(host, ":80")
	case "https", "wss":
		return strings.TrimSuffix(host, ":443")
	default:
		return host
	}
}

// path turns a path of the backend into the client's. isMapped is false if the route doesn't lead there.
func (w *returnWay) path(path string) (mapped string, isMapped bool) {
	if !strings.HasPrefix(path, "/") || !route.HasSegments(path, w.from) {
		return "", false
	}
	rest := path[len(w.from):]
	if w.to == "" { // no run of slashes may come to the start, nor what browsers take for one: a host would follow
		rest = "/" + strings.TrimLeft(rest, "/\\\t")
	}
	return w.to + rest, true
}

// cookie turns the Path of a cookie into the client's. It stays in a cookie whose name begins with __Host-: browsers keep such a cookie only
// with the path "/".
func (w *returnWay) cookie(value string) string {
	const hostPrefix = "__Host-"
	if trimmed := strings.TrimLeft(value, " \t"); len(trimmed) >= len(hostPrefix) && strings.EqualFold(trimmed[:len(hostPrefix)], hostPrefix) {
		return value
	}
	attributes := strings.Split(value, ";")
	for i, attribute := range attributes[1:] {
		name, path, _ := strings.Cut(attribute, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "Path") {
			continue
		}
		mapped, isMapped := w.path(strings.TrimSpace(path))
		if !isMapped {
			continue
		}
		if w.to != "" && mapped == w.to+"/" {
			mapped = w.to // the path itself belongs to it, too: RFC 6265 section 5.1.4
		}
		attributes[i+1] = name + "=" + mapped
	}
	return strings.Join(attributes, ";")
}
