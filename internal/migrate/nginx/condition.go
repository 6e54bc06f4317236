package nginx

import (
	"regexp"
	"strings"

	"sluice/internal/migrate"
)

// parseCondition returns the match of an if, or of its opposite.
func (r *reader) parseCondition(d *directive) (when migrate.Match, isNegated, isKnown bool) {
	text := strings.TrimPrefix(strings.Join(quoteEmpty(d.args), " "), "(")
	args := strings.Fields(strings.TrimSuffix(text, ")"))
	if len(args) == 1 {
		args = append(args, "~", ".")
	}
	if len(args) != 3 {
		return when, false, false
	}
	operator, isNegated := strings.CutPrefix(args[1], "!")
	value := strings.Trim(args[2], `"'`)
	variable := strings.Trim(strings.TrimPrefix(args[0], "$"), "{}")
	if value == "" && operator == "=" { // "= nothing" is "not ~ something"
		operator, value, isNegated = "~", ".", !isNegated
	}
	isRegexp := operator != "="
	text = value
	if isRegexp {
		text = "~" + value
		if operator == "~*" {
			text = "~(?i)" + value
		}
		if _, err := regexp.Compile(text[1:]); err != nil {
			return when, false, false
		}
		if value == "." {
			text = "*"
		}
	}
	isKnown = true
	field, isField := strings.CutPrefix(variable, "http_")
	parameter, isParameter := strings.CutPrefix(variable, "arg_")
	switch {
	case variable == "host" || variable == "http_host":
		hosts, isList := alternatives(value, isRegexp)
		for i, host := range hosts {
			hosts[i] = strings.ToLower(strings.ReplaceAll(host, `\.`, "."))
			isList = isList && hostName.MatchString(hosts[i])
		}
		when.Hosts, isKnown = hosts, isList
	case variable == "request_method":
		when.Methods, isKnown = alternatives(value, isRegexp)
	case variable == "scheme" && !isRegexp:
		when.Listeners = r.listenersWith(func(l *listener) bool { return l.hasTLS() == (value == "https") })
	case variable == "https":
		when.Listeners = r.listenersWith(func(l *listener) bool { return l.hasTLS() })
		isKnown = value == "on" || value == "."
	case variable == "ssl_protocol" && value == ".":
		when.Listeners = r.listenersWith(func(l *listener) bool { return l.hasTLS() })
	case variable == "server_port" && !isRegexp:
		when.Listeners = r.listenersWith(func(l *listener) bool { return l.port == value })
	case variable == "http_upgrade" || r.upgrade["$"+variable]:
		when.Header = map[string]string{"Upgrade": migrate.WebSocket}
		isKnown = value == "." || strings.Contains(strings.ToLower(value), "websocket") || strings.EqualFold(value, "upgrade")
	case isField:
		when.Header = map[string]string{fieldName(field): text}
	case isParameter:
		when.Query = map[string]string{parameter: text}
	default:
		isKnown = false
	}
	return when, isNegated, isKnown
}

// quoteEmpty returns arguments with quotes around empty ones.
func quoteEmpty(args []string) []string {
	var quoted []string
	for _, arg := range args {
		if arg == "" {
			arg = `""`
		}
		quoted = append(quoted, arg)
	}
	return quoted
}

// alternatives returns the values of a condition: one, or those of ^(A|B)$.
func alternatives(value string, isRegexp bool) (values []string, isList bool) {
	if !isRegexp {
		return []string{value}, true
	}
	inner, isAnchored := strings.CutPrefix(value, "^")
	inner, isEnded := strings.CutSuffix(inner, "$")
	inner = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(inner, "("), "?:"), ")")
	if !isAnchored || !isEnded || strings.ContainsAny(inner, "()[]*+?^$") {
		return nil, false
	}
	return strings.Split(inner, "|"), true
}

func (r *reader) listenersWith(is func(*listener) bool) []string {
	names := []string{}
	for _, l := range r.listeners {
		if is(l) {
			names = append(names, l.name)
		}
	}
	return names
}

// fieldName returns the name of the field that $http_NAME is.
func fieldName(variable string) string {
	words := strings.Split(variable, "_")
	for i, word := range words {
		if word != "" {
			words[i] = strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return strings.Join(words, "-")
}
