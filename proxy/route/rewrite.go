package route

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"sluice/internal/units"
	"sluice/upgrade"
)

// HostOfBackend is the value of host_header for the backend's own address.
const HostOfBackend = "backend"

// Changes are what a route changes in requests and answers, and its own answers. Immutable.
type Changes struct {
	NewPath         string    // replaces the whole path of requests; "" keeps it
	NewPathTemplate *Template // as NewPath, of the groups of PathRegexp; or nil
	StripPrefix     int       // bytes to remove from the start of the path
	PathPrefix      string    // is put before the rest of the path
	ClientPrefix    string    // is what StripPrefix removes, as it stands in a URL
	HostHeader      string    // replaces Host; HostOfBackend: by the backend's address; "" keeps it

	SetHeaders    []upgrade.Field // of requests
	SetTemplates  []FieldTemplate // of requests, with placeholders
	RemoveHeaders []string        // of requests

	SetResponseHeaders    []upgrade.Field
	SetResponseTemplates  []FieldTemplate
	RemoveResponseHeaders []string
	RewritesLocation      bool // Location and the Path of Set-Cookie

	Redirect       *Template // the Location of a redirection; nil: none
	RedirectStatus int
	Respond        *Template // the body of an answer; nil: none
	RespondStatus  int
}

// Replaces reports whether fields of that name in a backend's answer are set or removed.
func (c *Changes) Replaces(name string) bool {
	fixed := upgrade.AnswerChange{SetHeaders: c.SetResponseHeaders, RemoveHeaders: c.RemoveResponseHeaders}
	return fixed.Replaces(name) || slices.ContainsFunc(c.SetResponseTemplates, func(t FieldTemplate) bool { return upgrade.IsSameField(name, t.Name) })
}

// A FieldTemplate is a field whose value has placeholders.
type FieldTemplate struct {
	Name  string
	Value Template
}

// newChanges makes the changes of a route whose section has no problems, and whose path, without a slash at its end, it is.
func newChanges(c *Config, path string) Changes {
	s := c.syntax()
	changes := Changes{
		StripPrefix:           len(strings.TrimRight(c.StripPrefix, "/")),
		HostHeader:            c.HostHeader,
		RemoveHeaders:         c.RemoveHeader,
		RemoveResponseHeaders: c.RemoveResponseHeader,
		RewritesLocation:      c.RewriteLocation,
		RedirectStatus:        c.RedirectStatus,
	}
	switch {
	case c.RewritePath == "":
	case c.PathRegexp != "":
		changes.NewPathTemplate = s.path().mustParse(c.RewritePath)
	case c.PathExact != "":
		changes.NewPath = c.RewritePath
	default:
		changes.StripPrefix, changes.PathPrefix = len(strings.TrimRight(path, "/")), c.RewritePath
	}
	changes.ClientPrefix = string(upgrade.AppendURL(nil, cmp.Or(c.PathExact, c.Path)[:changes.StripPrefix]))
	changes.SetHeaders, changes.SetTemplates = fieldsOf(c.RequestHeader)
	changes.SetResponseHeaders, changes.SetResponseTemplates = fieldsOf(c.ResponseHeader)
	if c.Redirect != "" {
		changes.Redirect = s.mustParse(c.Redirect)
	}
	if c.Respond != nil {
		changes.Respond, changes.RespondStatus = syntax{}.mustParse(c.Respond.Body), c.Respond.Status
	}
	return changes
}

// fieldsOf returns the fields of request_header or response_header, those without placeholders and those with.
func fieldsOf(section map[string]string) (fixed []upgrade.Field, others []FieldTemplate) {
	for _, name := range slices.Sorted(maps.Keys(section)) {
		if t := (syntax{}).mustParse(section[name]); t.IsFixed() {
			fixed = append(fixed, upgrade.Field{Name: name, Value: t.text()})
		} else {
			others = append(others, FieldTemplate{name, *t})
		}
	}
	return fixed, others
}

// mustParse parses a checked template.
func (s syntax) mustParse(text string) *Template {
	t, err := s.parse(text)
	if err != nil {
		panic("BUG: unchecked template: " + err.Error())
	}
	return &t
}

// syntax returns what redirect may have.
func (c *Config) syntax() syntax {
	s := syntax{noBackend: true}
	if c.PathRegexp != "" {
		s.groups, _ = compileExpression(c.PathRegexp) // checked, or reported elsewhere
	}
	return s
}

// path returns what rewrite_path may have.
func (s syntax) path() syntax {
	s.noPlaceholders = true
	return s
}

// checkRewrite reports what is wrong with what the route changes in requests and answers, and with its own answers.
func (c *Config) checkRewrite(report units.Report) {
	c.checkPathChange(report)
	if c.HostHeader != "" && c.HostHeader != HostOfBackend && upgrade.CheckHost(c.HostHeader) != nil {
		report("host_header", "not a host", c.HostHeader, `"chat.internal", "chat.internal:8080", "backend" or ""`)
	}
	checkFields(report, "request_header", c.RequestHeader, "remove_header", c.RemoveHeader, syntax{})
	checkFields(report, "response_header", c.ResponseHeader, "remove_response_header", c.RemoveResponseHeader, syntax{noBackend: c.AnswersItself()})
	c.checkRedirect(report)
	c.checkRespond(report)
}

func (c *Config) checkPathChange(report units.Report) {
	whole := cmp.Or(c.PathExact, c.Path)
	switch {
	case c.StripPrefix == "":
	case c.PathRegexp != "":
		report("strip_prefix", "beside path_regexp", c.StripPrefix, "path or path_exact; or rewrite_path with a group of the expression")
	case !HasSegments(whole, c.StripPrefix):
		report("strip_prefix", "not the beginning of path", c.StripPrefix, fmt.Sprintf("%q, or whole segments at its beginning", whole))
	}
	if c.RewritePath == "" {
		return
	}
	const want = `a path such as "/api", percent-encoded, without query; with path_regexp also $1, or $${name} for a named group`
	if c.StripPrefix != "" {
		report("rewrite_path", "beside strip_prefix", c.RewritePath, "one of the two")
	}
	if c.RewriteLocation && (c.PathExact != "" || c.PathRegexp != "") {
		report("rewrite_location", "can't turn back what rewrite_path replaces as a whole", c.RewriteLocation, "false, or a route with path")
	}
	t, err := c.syntax().path().parse(c.RewritePath)
	if err != nil {
		report("rewrite_path", err.Error(), c.RewritePath, want)
		return
	}
	example := ""
	for _, p := range t.Parts {
		if p.Text == "" {
			p.Text = "x" // whatever it is, the path is checked once more when it is known
		}
		example += p.Text
	}
	if upgrade.CheckPath(example) != nil || strings.ContainsFunc(example, func(c rune) bool { return c > '~' || !upgrade.IsURLOctet(byte(c)) }) {
		report("rewrite_path", "not a path", c.RewritePath, want)
	}
}

// variable matches a variable as other proxies have them.
var variable = regexp.MustCompile(`\$[a-z][a-z_]+`)

// warnOfRewriting reports what has no effect, and what only looks like a wildcard or a variable.
func (c *Config) warnOfRewriting(report units.Report) {
	for _, path := range []struct{ key, value string }{{"path", c.Path}, {"path_exact", c.PathExact}} {
		if strings.Contains(path.value, "*") {
			report(path.key, `"*" stands for itself in a path`, path.value, "path without it, which is a prefix, or path_regexp")
		}
	}
	if c.RewritePath != "" && c.PathRegexp == "" && strings.Contains(c.RewritePath, "$") {
		report("rewrite_path", `"$" stands for itself without path_regexp`, c.RewritePath, "path_regexp with a group, or a path without $")
	}
	if c.RewriteLocation && c.StripPrefix == "" && c.RewritePath == "" {
		report("rewrite_location", "without strip_prefix or rewrite_path it has no effect", c.RewriteLocation, "one of the two")
	}
	const problem, want = "has no variables: the text is sent as it is", "a placeholder such as {client_ip}"
	for _, fields := range []struct {
		key string
		set map[string]string
	}{{"request_header", c.RequestHeader}, {"response_header", c.ResponseHeader}} {
		for _, name := range slices.Sorted(maps.Keys(fields.set)) {
			if variable.MatchString(fields.set[name]) {
				report(fields.key+"."+name, problem, fields.set[name], want)
			}
		}
	}
	if c.PathRegexp == "" && variable.MatchString(c.Redirect) {
		report("redirect", problem, c.Redirect, want)
	}
}

// checkFields reports what is wrong with fields that are set and removed.
func checkFields(report units.Report, setKey string, set map[string]string, removeKey string, remove []string, s syntax) {
	names := slices.Sorted(maps.Keys(set))
	for i, name := range names {
		if err := (upgrade.Field{Name: name, Value: set[name]}).Check(); err != nil {
			report(setKey+"."+name, err.Error(), set[name], "a field that the handshake doesn't need")
		}
		if earlier := indexOfField(names, name); earlier < i {
			report(setKey+"."+name, "the same field as "+names[earlier], set[name], "each field once: case does not count, and \"_\" is \"-\"")
		}
		if _, err := s.parse(set[name]); err != nil {
			report(setKey+"."+name, err.Error(), set[name], s.known())
		}
	}
	for i, name := range remove {
		if err := upgrade.CheckFieldName(name); err != nil {
			report(units.Indexed(removeKey, i), err.Error(), name, "a field that the handshake doesn't need")
		}
		if indexOfField(names, name) >= 0 {
			report(units.Indexed(removeKey, i), "set by "+setKey, name, "each field in one of the two")
		}
	}
}

// indexOfField returns which of the names is the first that means the same field; -1: none does.
func indexOfField(names []string, name string) int {
	return slices.IndexFunc(names, func(other string) bool { return upgrade.IsSameField(name, other) })
}

// redirectStatuses are the statuses of a redirection: RFC 9110 section 15.4.
var redirectStatuses = []int{301, 302, 303, 307, 308}

func (c *Config) checkRedirect(report units.Report) {
	if !slices.Contains(redirectStatuses, c.RedirectStatus) {
		report("redirect_status", "no redirection to one place", c.RedirectStatus, "301, 302, 303, 307 or 308")
	}
	if c.Redirect == "" {
		return
	}
	s := c.syntax()
	t, err := s.parse(c.Redirect)
	if err != nil {
		want := s.known()
		if s.groups != nil {
			want += " $1 $${name}"
		}
		report("redirect", err.Error(), c.Redirect, want)
		return
	}
	if problem := t.redirectProblem(); problem != "" {
		report("redirect", problem, c.Redirect, `a path, or a URL such as "https://{host}{uri}"`)
	}
}

// redirectProblem returns what keeps a template from being a Location that no client can turn into one of another host; "" if nothing does.
func (t *Template) redirectProblem() string {
	for _, p := range t.Parts {
		for _, octet := range []byte(p.Text) {
			if !upgrade.IsURLOctet(octet) && octet != '#' && octet != '[' && octet != ']' {
				return "an octet that a URL has only percent-encoded"
			}
		}
	}
	rest := slices.Clone(t.Parts)
	first := rest[0]
	switch {
	case first.Value == ValuePath, first.Value == ValueURI, strings.HasPrefix(first.Text, "/") && !strings.HasPrefix(first.Text, "//"):
		return ""
	case first.Value == ValueScheme && len(rest) > 1 && strings.HasPrefix(rest[1].Text, "://"):
		rest = rest[1:]
		rest[0].Text = rest[0].Text[len("://"):]
	default:
		scheme, after, isURL := strings.Cut(first.Text, "://")
		if !isURL || !slices.Contains([]string{"http", "https", "ws", "wss"}, strings.ToLower(scheme)) {
			return "neither a path nor a URL"
		}
		rest[0].Text = after
	}
	return authorityProblem(rest)
}

// authorityProblem returns what is wrong with the beginning of the rest of a URL after its scheme, up to the path. Its first part may be an
// empty text.
func authorityProblem(rest []Part) string {
	isNamed := false
	for i, p := range rest {
		switch isText := p.Text != "" || i == 0; {
		case isText && strings.ContainsAny(p.Text, "/?#"):
			isNamed = isNamed || strings.IndexAny(p.Text, "/?#") > 0
			return missingHost(isNamed)
		case isText:
			isNamed = isNamed || p.Text != ""
		case p.Value == ValuePath, p.Value == ValueURI: // begins with a slash
			return missingHost(isNamed)
		case p.Value == ValueHost, p.Value == ValueHostPort:
			isNamed = true
		case p.Value != ValuePort:
			return "a placeholder in the host by which a client could name another one"
		}
	}
	return missingHost(isNamed)
}

func missingHost(isNamed bool) string {
	if isNamed {
		return ""
	}
	return "a URL without a host"
}

// maxRespondBody bounds the body of an answer of the gateway's own, which fits into the buffer of any socket.
const maxRespondBody = 16 << 10

func (c *Config) checkRespond(report units.Report) {
	if c.Respond == nil {
		return
	}
	s := syntax{noBackend: true}
	switch status := c.Respond.Status; {
	case status < 200 || status > 599:
		report("respond.status", "not a final status", status, "200 to 599")
	case !upgrade.HasBody(status) && c.Respond.Body != "":
		report("respond.body", fmt.Sprintf("a body with status %d, which has none", status), c.Respond.Body, "no body")
	}
	if _, err := s.parse(c.Respond.Body); err != nil {
		report("respond.body", err.Error(), c.Respond.Body, s.known())
	}
	if len(c.Respond.Body) > maxRespondBody {
		report("respond.body", "too long", fmt.Sprintf("%d bytes", len(c.Respond.Body)), fmt.Sprintf("at most %d bytes", maxRespondBody))
	}
}
