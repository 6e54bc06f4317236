package nginx

import (
	"errors"
	"fmt"
	"strings"
)

// placeholders are the variables of nginx that a placeholder of Sluice stands for.
var placeholders = map[string]string{
	"host":                "{host}",
	"http_host":           "{hostport}",
	"request_uri":         "{uri}",
	"uri":                 "{path}",
	"document_uri":        "{path}",
	"args":                "{query}",
	"query_string":        "{query}",
	"remote_addr":         "{client_ip}",
	"realip_remote_addr":  "{client_ip}",
	"proxy_protocol_addr": "{client_ip}",
	"scheme":              "{scheme}",
	"server_port":         "{port}",
	"request_method":      "{method}",
	"request_id":          "{request_id}",
	"ssl_protocol":        "{tls_version}",
	"ssl_server_name":     "{sni}",
	"ssl_client_s_dn":     "{subject}",
	"upstream_addr":       "{backend}",
}

// An expander turns texts with variables into values of Sluice's keys.
type expander struct {
	level    *level
	name     string // what $server_name is
	captures bool   // $1 is a group of path_regexp
	plain    bool   // the key has no placeholders
	steps    int    // variables that the text under way has had
}

// mostSteps bounds the variables of a text, those in the values of others included.
const mostSteps = 100

// expand returns the value for a text. Its error names a variable that has no counterpart.
func (x *expander) expand(text string) (string, error) {
	x.steps = 0
	return x.expandSets(text)
}

// expandSets is expand for a text or for the value of a variable in it.
func (x *expander) expandSets(text string) (string, error) {
	var out strings.Builder
	for text != "" {
		at := strings.IndexByte(text, '$')
		if at < 0 {
			at = len(text)
		}
		out.WriteString(x.literal(text[:at]))
		if text = text[at:]; text == "" {
			break
		}
		name, rest := cutVariable(text)
		value, err := x.variable(name, rest)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		text = rest
	}
	return out.String(), nil
}

// expandURL returns the value of redirect for a text. Its error says why a client can't be sent there: only the request's own host may be
// computed.
func (x *expander) expandURL(text string) (string, error) {
	url, err := x.expand(text)
	if err != nil {
		return "", err
	}
	url = escapeURL(url)
	scheme, rest, isURL := strings.Cut(url, "://")
	if strings.HasPrefix(url, "/") && !strings.HasPrefix(url, "//") || strings.HasPrefix(url, "{uri}") || strings.HasPrefix(url, "{path}") {
		return url, nil
	}
	host := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		host = rest[:end]
	}
	host = strings.NewReplacer("{hostport}", "", "{host}", "", "{port}", "", "{uri}", "", "{path}", "").Replace(host)
	if !isURL || rest == "" || strings.ContainsAny(host, "{$") || scheme != "http" && scheme != "https" && scheme != "{scheme}" {
		return "", errors.New("no URL of a fixed host, and none of the host of the request")
	}
	return url, nil
}

// escapeURL returns a text with the octets that no URL has in their encoded form.
func escapeURL(s string) string {
	var escaped strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`|", c) >= 0 {
			fmt.Fprintf(&escaped, "%%%02X", c)
		} else {
			escaped.WriteByte(c)
		}
	}
	return escaped.String()
}

// literal returns text as a key with placeholders has it.
func (x *expander) literal(s string) string {
	if x.plain {
		return s
	}
	return strings.ReplaceAll(s, "{", "{{")
}

// variable returns the value of a variable, which is followed by rest.
func (x *expander) variable(name, rest string) (string, error) {
	if x.steps++; x.steps > mostSteps {
		return "", errors.New("more variables than can be followed")
	}
	if set, isSet := x.level.set(name); isSet {
		return x.expandSets(set)
	}
	if isGroup(name) && x.captures {
		if next, _ := cutVariable("$" + rest); next != "" { // $1x is a group of that name
			return "${" + name + "}", nil
		}
		return "$" + name, nil
	}
	if name == "is_args" && (strings.HasPrefix(rest, "$args") || strings.HasPrefix(rest, "$query_string")) {
		return "?", nil
	}
	if name == "server_name" && x.name != "" {
		return x.literal(x.name), nil
	}
	if placeholder := placeholders[name]; placeholder != "" && !x.plain {
		return placeholder, nil
	}
	return "", fmt.Errorf("$%s has no counterpart here", name)
}

// cutVariable cuts $name or ${name} from the beginning of a text.
func cutVariable(text string) (name, rest string) {
	text = text[1:]
	if strings.HasPrefix(text, "{") {
		name, rest, _ = strings.Cut(text[1:], "}")
		return name, rest
	}
	if text != "" && '0' <= text[0] && text[0] <= '9' {
		return text[:1], text[1:]
	}
	end := strings.IndexFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:]
}

// isGroup reports whether a variable is a numbered group of a regular expression.
func isGroup(name string) bool { return len(name) == 1 && '0' <= name[0] && name[0] <= '9' }
