package caddy

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/migrate"
)

// secretFile is where the secret of cookies is expected.
const secretFile = "/etc/sluice/sticky.secret"

// reverseProxy returns the answer of a reverse_proxy, whose backends become a pool; nil: there are none.
func (s *scope) reverseProxy(c migrate.Case, step step) *migrate.Answer {
	pool := &migrate.Section{From: step.Place}
	answer := *c.Then
	answer.Via = ""
	p := &proxied{scope: s, pool: pool, answer: &answer}
	for _, upstream := range step.rest {
		p.upstream(upstream, step.Place)
	}
	for _, d := range step.block {
		p.option(d)
	}
	if len(p.backends) == 0 {
		s.note(step.Place, step.text(), "no address of a backend")
		return nil
	}
	if p.isSecure { // Caddy speaks TLS to all of them, or to none
		for i := range p.backends {
			address, _ := p.backends[i].(migrate.Inline)[0].Value.(string)
			if address != "" && !strings.HasPrefix(address, "wss://") && !strings.HasPrefix(address, "unix:") {
				p.backends[i].(migrate.Inline)[0].Value = "wss://" + address
			}
		}
	}
	name := s.poolName(p)
	return p.answer.With(migrate.Key{Name: "pool", Value: name, From: step.Place})
}

// proxied is a reverse_proxy that is read.
type proxied struct {
	*scope
	pool     *migrate.Section
	answer   *migrate.Answer
	backends []any
	isSecure bool
}

// poolName adds the pool to the draft, unless it has one with the same keys, and returns its name.
func (s *scope) poolName(p *proxied) string {
	first, _ := p.backends[0].(migrate.Inline)[0].Value.(string)
	if template, isTemplate := p.backends[0].(migrate.Inline)[0].Value.(migrate.Template); isTemplate {
		first = string(template)
	}
	first = strings.TrimPrefix(first, "wss://")
	if found := variableName.FindStringSubmatch(first); found != nil {
		first = found[1] + ":"
	}
	host, port, err := net.SplitHostPort(first)
	name := host
	if err != nil || net.ParseIP(host) != nil || host == "localhost" {
		name = "port-" + port
	}
	if strings.HasPrefix(first, "unix:") {
		name = first[strings.LastIndexByte(first, '/')+1:]
	}
	name = strings.Map(func(c rune) rune {
		if c == '.' || c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' {
			return c
		}
		return '-'
	}, name)
	own := slices.Clone(p.pool.Keys)
	p.pool.Keys = nil
	p.pool.Set("name", name, p.pool.From)
	if len(p.backends) > 1 && !slices.ContainsFunc(own, func(k migrate.Key) bool { return k.Name == "policy" }) {
		p.pool.SetNote("policy", "random", p.pool.From, "Caddy's; without it least_conn, which suits sessions better")
	}
	p.pool.Set("backend", p.backends, p.pool.From)
	for _, key := range own {
		p.pool.SetNote(key.Name, key.Value, key.From, key.Note)
	}
	for number := 2; ; number++ {
		i := slices.IndexFunc(s.draft.Pools, func(has *migrate.Section) bool { return has.Get("name") == p.pool.Get("name") })
		if i < 0 {
			s.draft.Pools = append(s.draft.Pools, p.pool)
			break
		}
		if isSame(s.draft.Pools[i], p.pool) {
			break
		}
		p.pool.Set("name", name+"-"+strconv.Itoa(number), p.pool.From)
	}
	taken, _ := p.pool.Get("name").(string)
	return taken
}

// variableName matches a variable of the environment in an address.
var variableName = regexp.MustCompile(`\$\{(\w+)`)

// isSame reports whether two pools have the same keys.
func isSame(a, b *migrate.Section) bool {
	return slices.EqualFunc(a.Keys, b.Keys, func(x, y migrate.Key) bool { return x.Name == y.Name && valueText(x.Value) == valueText(y.Value) })
}

// valueText returns a value as text that doesn't depend on where it comes from.
func valueText(value any) string {
	switch v := value.(type) {
	case migrate.Inline:
		text := "{"
		for _, key := range v {
			text += key.Name + "=" + valueText(key.Value) + ","
		}
		return text
	case []any:
		text := "["
		for _, element := range v {
			text += valueText(element) + ","
		}
		return text
	case []string:
		return strings.Join(v, ",")
	case string:
		return strconv.Quote(v)
	case migrate.Template:
		return "$" + strconv.Quote(string(v))
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	}
	return ""
}

// upstream adds a backend.
func (p *proxied) upstream(text string, at migrate.Place) {
	scheme, rest, hasScheme := strings.Cut(text, "://")
	if !hasScheme {
		scheme, rest = "", text
	}
	rest = strings.TrimSuffix(rest, "/")
	if path, isUnix := strings.CutPrefix(rest, "unix/"); isUnix {
		p.add("unix:"+path, at)
		return
	}
	if strings.Contains(rest, "/") {
		p.note(at, text, "an address has no path: rewrite_path of the route")
		return
	}
	port := "80"
	switch scheme {
	case "https":
		port = "443"
		p.isSecure = true
	case "h2c":
		p.pool.Set("protocol", "h2", at)
	}
	switch i := strings.LastIndexByte(rest, ':'); {
	case i < 0 || strings.HasSuffix(rest, "]"):
		rest += ":" + port
	case i == 0:
		rest = "localhost" + rest
	case strings.Contains(rest[i:], "-") && !strings.Contains(rest, "$"):
		p.note(at, text, "a range of ports: name each of them")
		return
	}
	p.add(rest, at)
}

func (p *proxied) add(address string, at migrate.Place) {
	p.backends = append(p.backends, migrate.Inline{{Name: "address", Value: migrate.Text(address), From: at}})
}

// durations are the options that are a time, and their keys.
var durations = map[string]string{
	"health_interval": "health.interval", "health_timeout": "health.timeout", "fail_duration": "ejection.window",
}

// option reads a line within reverse_proxy.
func (p *proxied) option(d *directive) {
	value := ""
	if len(d.words) > 1 {
		value = d.words[1]
	}
	setPool := func(key string, value any) { p.pool.Set(key, value, d.Place) }
	number, errNumber := strconv.Atoi(value)
	switch name := d.words[0]; name {
	case "to":
		for _, upstream := range d.arguments() {
			p.upstream(upstream, d.Place)
		}
	case "lb_policy":
		p.policy(d)
	case "lb_retries":
		if errNumber == nil && number >= 0 {
			setPool("retries", number)
		}
	case "health_uri", "health_path":
		if strings.HasPrefix(value, "/") {
			setPool("health.kind", "http")
			setPool("health.path", value)
			if p.pool.Get("health.interval") == nil {
				p.pool.SetNote("health.interval", "30s", d.Place, "Caddy's")
			}
		}
	case "health_status":
		if errNumber == nil && number >= 200 {
			setPool("health.status", []any{number})
		} else if value != "2xx" {
			p.note(d.Place, d.text(), "health.status lists each status")
		}
	case "health_interval", "health_timeout", "fail_duration":
		if text, err := duration(value); err == nil {
			setPool(durations[name], text)
		}
	case "max_fails":
		if errNumber == nil && number >= 0 {
			setPool("ejection.failures", number)
		}
	case "unhealthy_status":
		var statuses []any
		for _, text := range d.arguments() {
			if status, err := strconv.Atoi(text); err == nil && status >= 500 && status <= 599 {
				statuses = append(statuses, status)
			} else {
				p.note(d.Place, d.text(), "statuses of 500 to 599, each by itself")
			}
		}
		if statuses != nil {
			setPool("ejection.statuses", statuses)
		}
	case "unhealthy_request_count":
		if errNumber == nil && number > 0 {
			for i := range p.backends {
				p.backends[i] = append(p.backends[i].(migrate.Inline), migrate.Key{Name: "max_sessions", Value: number, From: d.Place})
			}
		}
	case "stream_timeout":
		p.note(d.Place, d.text(), "not needed: no session ends for its age. To end idle ones: idle_timeout")
	case "header_up", "header_down":
		if change := p.field(name == "header_up", d.arguments(), d.Place, d.text()); change != nil && len(d.words) > 1 {
			if changed := change(migrate.Case{Then: p.answer}); changed != nil {
				p.answer = changed
			}
		}
	case "transport":
		if value == "http" {
			p.transport(d)
		} else {
			p.note(d.Place, d.text(), "backends speak HTTP")
		}
	case "dynamic":
		p.dynamic(d)
	case "rewrite", "method":
		p.note(d.Place, d.text(), "rewrite_path of the route")
	}
}

// policy sets the policy of the pool.
func (p *proxied) policy(d *directive) {
	if len(d.words) < 2 {
		return
	}
	set := func(policy string) { p.pool.Set("policy", policy, d.Place) }
	key := func(name string) {
		if len(d.words) > 2 {
			set("hash")
			p.pool.Set(name, d.words[2], d.Place)
		}
	}
	switch d.words[1] {
	case "random", "round_robin", "least_conn", "ip_hash":
		set(d.words[1])
	case "client_ip_hash":
		set("ip_hash")
	case "random_choose":
		set("random_two")
	case "header":
		key("hash.header")
	case "query":
		key("hash.query")
	case "uri_hash":
		set("hash")
		p.pool.Set("hash.path", true, d.Place)
	case "cookie":
		set("sticky")
		if len(d.words) > 2 {
			p.pool.Set("sticky.cookie", d.words[2], d.Place)
		} else {
			p.pool.Set("sticky.cookie", "lb", d.Place)
		}
		p.pool.SetNote("sticky.secret_file", secretFile, d.Place, "the key that signs the cookie: openssl rand -hex 32")
	case "first":
		set("least_conn")
		for i := 1; i < len(p.backends); i++ {
			p.backends[i] = append(p.backends[i].(migrate.Inline), migrate.Key{Name: "backup", Value: true, From: d.Place})
		}
	case "weighted_round_robin":
		set("round_robin")
		for i, text := range d.words[2:] {
			if weight, err := strconv.Atoi(text); err == nil && i < len(p.backends) && weight > 0 {
				p.backends[i] = append(p.backends[i].(migrate.Inline), migrate.Key{Name: "weight", Value: weight, From: d.Place})
			}
		}
	default:
		p.note(d.Place, d.text(), "Sluice has no such setting")
	}
}

// transport reads how backends are spoken with.
func (p *proxied) transport(of *directive) {
	for _, d := range of.block {
		value := ""
		if len(d.words) > 1 {
			value = d.words[len(d.words)-1]
		}
		switch d.words[0] {
		case "tls":
			p.isSecure = true
		case "tls_insecure_skip_verify":
			p.isSecure = true
			p.pool.SetNote("tls.insecure", true, d.Place, "an attacker on the path can read and change the traffic")
		case "tls_server_name":
			p.isSecure = true
			p.pool.Set("tls.server_name", value, d.Place)
		case "tls_trusted_ca_certs", "tls_trust_pool":
			p.isSecure = true
			if d.words[0] == "tls_trusted_ca_certs" || len(d.words) == 3 && d.words[1] == "file" {
				p.pool.Set("tls.ca", migrate.Text(value), d.Place)
			}
		case "tls_client_auth":
			if len(d.words) == 3 {
				p.pool.Set("tls.cert", migrate.Text(d.words[1]), d.Place)
				p.pool.Set("tls.key", migrate.Text(d.words[2]), d.Place)
			}
		case "dial_timeout", "response_header_timeout":
			if text, err := duration(value); err == nil && text != "0s" {
				key := map[string]string{"dial_timeout": "connect_timeout", "response_header_timeout": "response_timeout"}[d.words[0]]
				p.answer = p.answer.With(migrate.Key{Name: key, Value: text, From: d.Place})
			}
		case "proxy_protocol":
			p.pool.Set("send_proxy", true, d.Place)
			if value != "v2" {
				p.note(d.Place, d.text(), "version 2 is sent")
			}
		case "versions":
			if !slices.Contains(d.words, "1.1") {
				p.pool.Set("protocol", "h2", d.Place)
			} else {
				p.note(d.Place, d.text(), "not needed: HTTP/1.1")
			}
		}
	}
}

// dynamic reads where backends are found by DNS.
func (p *proxied) dynamic(d *directive) {
	if len(d.words) < 2 || d.words[1] != "a" && d.words[1] != "srv" {
		p.note(d.Place, d.text(), "[pool.discovery] knows a and srv")
		return
	}
	name, port := "", "80"
	if len(d.words) > 2 {
		name = d.words[2]
	}
	if len(d.words) > 3 {
		port = d.words[3]
	}
	for _, option := range d.block {
		if len(option.words) < 2 {
			continue
		}
		switch option.words[0] {
		case "name":
			name = option.words[1]
		case "port":
			port = option.words[1]
		case "refresh":
			if text, err := duration(option.words[1]); err == nil && text != "0s" {
				p.pool.Set("discovery.interval", text, option.Place)
			}
		}
	}
	p.pool.Set("discovery.dns", d.words[1], d.Place)
	if d.words[1] == "a" {
		name += ":" + port
	}
	p.add(name, d.Place)
}

// duration returns a time as the configuration has it; "1d" is a day in Caddy.
func duration(text string) (string, error) {
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= 365 {
			return migrate.Duration(time.Duration(n) * 24 * time.Hour), nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 365*24*time.Hour {
		return "", strconv.ErrRange
	}
	return migrate.Duration(d), nil
}
