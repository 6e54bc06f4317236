package reach

import (
	"bytes"
	"slices"
	"strconv"

	"sluice/balancer"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// An expansion finds the values of placeholders for a request. Most of them are the client's words: what may stand where they go, it may say.
type expansion struct {
	client  *Client
	route   *route.Route
	request *upgrade.Request
	backend *balancer.Backend // nil: none is chosen
	groups  []int             // what path_regexp has found in the path; nil: nothing yet
}

// fields returns which fields are set and which are removed besides those that need no request. Control bytes become "?". A field whose
// placeholders are all empty is removed.
func (e *expansion) fields(templates []route.FieldTemplate, set []upgrade.Field, removed []string) ([]upgrade.Field, []string) {
	set, removed = slices.Clip(set), slices.Clip(removed)
	for i := range templates {
		t := &templates[i]
		var value []byte
		isEmpty := true
		for _, p := range t.Value.Parts {
			known := len(value)
			value = e.append(value, p)
			isEmpty = isEmpty && (p.Text != "" || len(value) == known)
		}
		if isEmpty {
			removed = append(removed, t.Name)
			continue
		}
		set = append(set, upgrade.Field{Name: t.Name, Value: string(upgrade.Printable(value))})
	}
	return set, removed
}

// path returns the path that a template stands for, of which the parts are as they were sent.
func (e *expansion) path(t *route.Template) string {
	var b []byte
	for _, p := range t.Parts {
		b = e.append(b, p)
	}
	return string(oneSlash(b))
}

// body returns the text of a body. Values that the client chooses are percent-encoded as in a URL, quotes too: in HTML and in a string of JSON
// they are nothing but text.
func (e *expansion) body(t *route.Template) string {
	var b []byte
	for _, p := range t.Parts {
		switch value := e.append(nil, p); {
		case p.Text != "", p.Value == route.ValueHost, p.Value == route.ValueHostPort, p.Value == route.ValueRoute:
			b = append(b, value...)
		default:
			b = append(b, bytes.ReplaceAll(upgrade.AppendURL(nil, value), []byte("'"), []byte("%27"))...)
		}
	}
	return string(b)
}

// url returns the URL that a template stands for. What no URL may have is percent-encoded, and a run of slashes at its start is one slash:
// otherwise what follows it would be a host. A "?" before a query is left out if the request has none.
func (e *expansion) url(t *route.Template) string {
	var b []byte
	for _, p := range t.Parts {
		switch value := e.append(nil, p); {
		case p.Text != "", p.Value == route.ValueHost, p.Value == route.ValueHostPort:
			b = append(b, value...)
		case p.Value == route.ValueQuery && len(value) == 0:
			b = bytes.TrimSuffix(b, []byte("?"))
		case p.Value == route.ValuePath, p.Value == route.ValueQuery, p.Value == route.ValueURI, p.Value == route.ValueGroup:
			b = upgrade.AppendURL(b, value)
		default:
			b = upgrade.AppendURLComponent(b, value)
		}
	}
	return string(oneSlash(b))
}

// oneSlash returns a path with a run of slashes at its start as one.
func oneSlash(path []byte) []byte { return upgrade.BehindPrefix(path, 0) }

// rewritePath finds the path that the backend gets instead of the client's, if the route replaces it as a whole. It refuses a request for
// which that would be no path.
func (c *Client) rewritePath(r *route.Route, req *upgrade.Request) *upgrade.Rejection {
	c.path = r.NewPath
	if r.NewPathTemplate == nil {
		return nil
	}
	e := expansion{client: c, route: r, request: req}
	c.path = e.path(r.NewPathTemplate)
	return upgrade.CheckPath(c.path)
}

// append appends the value of a part.
func (e *expansion) append(b []byte, p route.Part) []byte {
	if p.Text != "" {
		return append(b, p.Text...)
	}
	c, req := e.client, e.request
	switch p.Value {
	case route.ValueGroup:
		return append(b, e.group(p.Group)...)
	case route.ValueClientIP:
		if addr := c.Addr.Addr(); addr.IsValid() {
			b = addr.Unmap().WithZone("").AppendTo(b)
		}
		return b
	case route.ValueHost:
		host := req.Hostname()
		if bytes.IndexByte(host, ':') >= 0 {
			return append(append(append(b, '['), host...), ']') // RFC 3986 section 3.2.2
		}
		return append(b, host...)
	case route.ValueHostPort:
		return append(b, req.Host()...)
	case route.ValuePath:
		return append(b, pathOf(req)...)
	case route.ValueQuery:
		return append(b, req.Query()...)
	case route.ValueURI:
		b = append(b, pathOf(req)...)
		if query := req.Query(); len(query) > 0 {
			b = append(append(b, '?'), query...)
		}
		return b
	case route.ValueMethod:
		return append(b, req.Method()...)
	case route.ValueScheme:
		return append(b, c.Proto...)
	case route.ValuePort:
		if c.Port > 0 {
			b = strconv.AppendUint(b, uint64(c.Port), 10)
		}
		return b
	case route.ValueRequestID:
		if id := req.EndToEnd("X-Request-Id"); c.IsTrusted && id != nil {
			return append(b, id...)
		}
		return append(b, c.RequestID...)
	case route.ValueTLSVersion:
		return append(b, FormatTLSVersion(c.TLSVersion)...)
	case route.ValueSNI:
		return append(b, c.ServerName...)
	case route.ValueSubject:
		if c.Certificate == "" && c.IsCertTrusted {
			return append(b, req.EndToEnd(upgrade.ClientCertHeader)...)
		}
		return append(b, c.Certificate...)
	case route.ValueRoute:
		return append(b, e.route.Name...)
	case route.ValueBackend:
		if e.backend != nil {
			b = append(b, e.backend.Name()...)
		}
		return b
	default:
		panic("BUG: no such value of a placeholder")
	}
}

// pathOf returns the path as sent, with a run of slashes at its start as one.
func pathOf(req *upgrade.Request) []byte {
	if path := oneSlash(req.RawPath()); len(path) > 0 {
		return path
	}
	return req.Path() // of "http://example.com"
}

// group returns what a group of path_regexp has found, as the client has sent it.
func (e *expansion) group(index int) []byte {
	if e.groups == nil {
		e.groups = append(e.route.PathRegexp.FindSubmatchIndex(e.request.Path()), -1)
	}
	if 2*index+1 >= len(e.groups) || e.groups[2*index] < 0 {
		return nil
	}
	return e.request.RawPart(e.groups[2*index], e.groups[2*index+1])
}
