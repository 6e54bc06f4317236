package caddy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// placeholders are those of Caddy that a placeholder of Sluice stands for.
var placeholders = map[string]string{
	"host": "{host}", "http.request.host": "{host}", "hostport": "{hostport}", "http.request.hostport": "{hostport}",
	"path": "{path}", "http.request.uri.path": "{path}", "query": "{query}", "http.request.uri.query": "{query}",
	"uri": "{uri}", "http.request.uri": "{uri}", "http.request.orig_uri": "{uri}", "method": "{method}", "http.request.method": "{method}",
	"scheme": "{scheme}", "http.request.scheme": "{scheme}", "port": "{port}", "http.request.port": "{port}",
	"remote_host": "{client_ip}", "http.request.remote.host": "{client_ip}", "client_ip": "{client_ip}", "http.vars.client_ip": "{client_ip}",
	"remote_ip": "{client_ip}", "uuid": "{request_id}", "http.request.uuid": "{request_id}", "tls_version": "{tls_version}",
	"http.request.tls.version": "{tls_version}", "http.request.tls.server_name": "{sni}", "tls_client_subject": "{subject}",
	"http.request.tls.client.subject": "{subject}", "upstream_hostport": "{backend}", "http.reverse_proxy.upstream.hostport": "{backend}",
	"http.request.header.Host": "{hostport}", "header.Host": "{hostport}",
}

// placeholder matches one of Caddy, and a variable of the environment.
var placeholder = regexp.MustCompile(`\$\{[^{}]*\}|\{[A-Za-z0-9_.-]+\}`)

// capture matches a group of a path_regexp.
var capture = regexp.MustCompile(`^\{(?:re|http\.regexp)\.(?:[A-Za-z_]\w*\.)?(\d+)\}$`)

// template returns a text of Caddy with placeholders of Sluice. Its error names one that has no counterpart.
func template(text string) (string, error) {
	var err error
	text = expand(text, func(found string) string {
		err = fmt.Errorf("%s has no placeholder", found)
		return ""
	})
	return text, err
}

// knownTemplate is template for the text of an answer, in which Caddy leaves unknown placeholders as they are.
func knownTemplate(text string) string {
	return expand(text, func(found string) string { return "{" + found })
}

// expand replaces the placeholders of a text, those without a counterpart by what unknown returns.
func expand(text string, unknown func(found string) string) string {
	var out strings.Builder
	for {
		at := placeholder.FindStringIndex(text)
		if at == nil {
			out.WriteString(strings.ReplaceAll(text, "{", "{{"))
			return out.String()
		}
		out.WriteString(strings.ReplaceAll(text[:at[0]], "{", "{{"))
		found := text[at[0]:at[1]]
		text = text[at[1]:]
		group := capture.FindStringSubmatch(found)
		switch known := placeholders[strings.Trim(found, "{}")]; {
		case strings.HasPrefix(found, "$"):
			out.WriteString(found)
		case group != nil:
			out.WriteString(migrate.Group(group[1], text))
		case known == "":
			out.WriteString(unknown(found))
		default:
			out.WriteString(known)
		}
	}
}

// change returns what a directive changes of requests and answers; nil: nothing, or it isn't one of those.
func (s *scope) change(step step) func(migrate.Case) *migrate.Answer {
	switch step.words[0] {
	case "header", "request_header":
		lines := step.block
		if len(step.rest) > 0 {
			lines = append([]*directive{{Place: step.Place, words: step.rest}}, lines...)
		}
		var changes []func(migrate.Case) *migrate.Answer
		for _, l := range lines {
			if change := s.field(step.words[0] == "request_header", l.words, l.Place, step.text()); change != nil {
				changes = append(changes, change)
			}
		}
		if changes == nil {
			return nil
		}
		return func(c migrate.Case) *migrate.Answer {
			for _, change := range changes {
				if c.Then = change(c); c.Then == nil {
					return nil
				}
			}
			return c.Then
		}
	case "request_body":
		for _, d := range step.block {
			if size, err := sizeOf(d.words[len(d.words)-1]); err == nil && d.words[0] == "max_size" {
				return set(migrate.Key{Name: "request_body", Value: size, From: d.Place})
			}
		}
	case "uri":
		if len(step.rest) == 2 && step.rest[0] == "strip_prefix" {
			return s.stripPrefix(step.rest[1], step.Place)
		}
		s.note(step.Place, step.text(), "of uri there is strip_prefix here; rewrite_path replaces a whole path")
	case "rewrite":
		if len(step.rest) == 1 {
			return s.rewrite(step.rest[0], step.Place)
		}
	}
	return nil
}

// set returns the change that sets a key.
func set(key migrate.Key) func(migrate.Case) *migrate.Answer {
	return func(c migrate.Case) *migrate.Answer { return c.Then.With(key) }
}

// field returns the change that a line about a field means: NAME VALUE, +NAME VALUE, -NAME, >NAME VALUE.
func (s *scope) field(isRequest bool, words []string, at migrate.Place, text string) func(migrate.Case) *migrate.Answer {
	name := words[0]
	if name == "defer" && len(words) == 1 {
		s.note(at, text, "not needed: fields are set as the answer passes")
		return nil
	}
	if rest, isAdded := strings.CutPrefix(name, "+"); isAdded {
		s.note(at, text, "here it replaces fields of that name")
		name = rest
	}
	name = strings.TrimPrefix(name, ">")
	lower := strings.ToLower(strings.TrimPrefix(name, "-"))
	isOfHandshake := slices.Contains([]string{"connection", "upgrade", "content-length", "transfer-encoding", "sec-websocket-key", "sec-websocket-version",
		"sec-websocket-protocol", "sec-websocket-extensions", "sec-websocket-accept", "expect", "trailer"}, lower)
	switch {
	case isOfHandshake:
		s.note(at, text, "not needed: Sluice passes Connection, Upgrade and the fields of the handshake on")
		return nil
	case isRequest && slices.Contains([]string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}, lower):
		s.note(at, text, "not needed: Sluice sets X-Forwarded-For, -Proto and -Host")
		return nil
	case strings.HasPrefix(name, "?") || strings.Contains(name, "*") || len(words) > 2:
		s.note(at, text, "fields are set or removed, by their whole names")
		return nil
	case strings.HasPrefix(name, "-"):
		key := "remove_header"
		if !isRequest {
			key = "remove_response_header"
		}
		return func(c migrate.Case) *migrate.Answer { return c.Then.Append(key, name[1:], at) }
	case len(words) < 2:
		return nil
	}
	value, err := template(words[1])
	if err != nil {
		s.note(at, text, err.Error())
		return nil
	}
	switch {
	case isRequest && lower == "host" && (value == "{hostport}" || value == "{host}"):
		s.note(at, text, "not needed: the backend gets the client's Host")
		return nil
	case isRequest && lower == "host" && value == "{backend}":
		return set(migrate.Key{Name: "host_header", Value: "backend", From: at})
	case isRequest && lower == "host":
		return set(migrate.Key{Name: "host_header", Value: migrate.Text(value), From: at})
	case isRequest:
		return set(migrate.Key{Name: migrate.Dotted("request_header", name), Value: migrate.Text(value), From: at})
	}
	return set(migrate.Key{Name: migrate.Dotted("response_header", name), Value: migrate.Text(value), From: at})
}

// stripPrefix returns the change of uri strip_prefix. Paths without the prefix stay, as with Caddy.
func (s *scope) stripPrefix(prefix string, at migrate.Place) func(migrate.Case) *migrate.Answer {
	prefix = "/" + strings.Trim(prefix, "/")
	return func(c migrate.Case) *migrate.Answer {
		path := c.Path + c.PathExact
		switch {
		case c.PathRegexp != "" || s.stripped != "":
			return nil
		case path+"/" != prefix+"/" && !strings.HasPrefix(path, prefix+"/"):
			if strings.HasPrefix(prefix, strings.TrimRight(path, "/")+"/") {
				return nil // some paths of the case have the prefix
			}
			return c.Then
		case c.PathExact != "":
			rest := strings.TrimPrefix(path, prefix)
			return c.Then.With(migrate.Key{Name: "rewrite_path", Value: "/" + strings.TrimPrefix(rest, "/"), From: at})
		}
		return c.Then.With(migrate.Key{Name: "strip_prefix", Value: prefix, From: at})
	}
}

// rewrite returns the change of rewrite: a prefix before the path, or another path for one path.
func (s *scope) rewrite(to string, at migrate.Place) func(migrate.Case) *migrate.Answer {
	return func(c migrate.Case) *migrate.Answer {
		key := migrate.Key{Name: "rewrite_path", From: at}
		prefix, isPrefix := strings.CutSuffix(to, "{uri}")
		if !isPrefix {
			prefix, isPrefix = strings.CutSuffix(to, "{path}")
		}
		switch {
		case s.stripped != "" || strings.Contains(to, "?"):
			return nil
		case isPrefix && !strings.Contains(prefix, "{") && c.PathRegexp == "":
			key.Value = strings.TrimSuffix(prefix, "/") + c.PathExact + strings.TrimRight(c.Path, "/")
		case c.PathExact != "" && !strings.Contains(to, "{"):
			key.Value = to
		case c.PathRegexp != "":
			path, err := template(to)
			if err != nil || strings.Contains(path, "{") && !strings.Contains(path, "${") {
				return nil
			}
			key.Value = path
		default:
			return nil
		}
		return c.Then.With(key)
	}
}

// sizeOf returns a size of Caddy, as "10MB", in bytes.
func sizeOf(text string) (int, error) {
	digits := strings.TrimRight(text, "KMGTiBkmgtb")
	n, err := strconv.ParseInt(digits, 10, 32)
	factor, isKnown := map[string]int64{
		"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
	}[strings.ToLower(text[len(digits):])]
	if err != nil || n < 0 || !isKnown || n > 1<<50/factor {
		return 0, fmt.Errorf("%q is no size", text)
	}
	return int(n * factor), nil
}
