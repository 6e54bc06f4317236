package route

import (
	"sluice/internal/units"
	"sluice/proxy/relay"
)

// Config is one [[route]] of the configuration.
type Config struct {
	// Listener names the listener that the route belongs to; empty means every listener.
	Listener string `toml:"listener"`
	// Name is unique; empty means the conditions of the route as text.
	Name string `toml:"name"`
	// Host is an exact host, "*.example.com" or "app.*"; empty means any host, unless Hosts has some.
	Host string `toml:"host"`
	// Hosts are further hosts, in the form of Host.
	Hosts []string `toml:"hosts"`
	// Path is a prefix of whole segments. The longest one wins.
	Path string `toml:"path" default:"/"`
	// PathExact is the whole path, instead of Path.
	PathExact string `toml:"path_exact"`
	// PathRegexp is a regular expression that finds a part of the path, instead of Path.
	PathRegexp string `toml:"path_regexp"`
	// Method has the methods of the route's requests; empty means any.
	Method []string `toml:"method"`
	// Header has what fields of the request must be, by name: a value, "~" and a regular expression, or "*" for any value.
	Header map[string]string `toml:"header"`
	// Query has the same for parameters of the query.
	Query map[string]string `toml:"query"`
	// Hidden are the names in Header and Query whose values no log, metric or API shows; further ones are hidden because of their names.
	Hidden map[string]bool
	// Priority ranks over everything else; the highest one wins.
	Priority int `toml:"priority" default:"0"`

	// Allow are the client addresses and prefixes that may use the route; empty means any.
	Allow []string `toml:"allow"`
	// Deny are those that may not.
	Deny []string `toml:"deny"`

	// Pool names the pool that the route's sessions go to. A route has exactly one of Pool, Pools, Redirect and Respond.
	Pool string `toml:"pool"`
	// Pools are several, each with its share.
	Pools []Share `toml:"pools"`
	// Redirect is the URL or path to which requests are redirected, with placeholders.
	Redirect string `toml:"redirect"`
	// RedirectStatus is the status of a redirection.
	RedirectStatus int `toml:"redirect_status" default:"308"`
	// Respond is an answer of the gateway's own.
	Respond *Respond `toml:"respond"`

	// Origins are the allowed values of Origin, each an origin (scheme, host and port), one with a wildcard for the host or its first
	// labels ("https://*.example.com", "https://*:8443"), "null", or "same": the Origin's host and port are those of Host. Empty means any.
	Origins []string `toml:"origins"`

	// HTTP passes requests that are not WebSocket to the pool as well; without it they are refused with 426.
	HTTP bool `toml:"http" default:"true"`
	// StripPrefix is removed from the path that the backend gets: Path, or whole segments at its beginning.
	StripPrefix string `toml:"strip_prefix"`
	// RewritePath replaces the part of the path that the route matches: Path, the whole of PathExact, or with PathRegexp the whole path,
	// where $1 is what a group has matched.
	RewritePath string `toml:"rewrite_path"`
	// HostHeader is the Host that the backend gets: empty means the client's, "backend" means the backend's own address.
	HostHeader string `toml:"host_header"`
	// RequestHeader has fields that the backend gets instead of the client's fields of these names. Values may have placeholders.
	RequestHeader map[string]string `toml:"request_header"`
	// RemoveHeader names fields that the backend doesn't get.
	RemoveHeader []string `toml:"remove_header"`
	// ResponseHeader has fields that the client gets instead of the backend's fields of these names, in a 101 and in any other answer. Values
	// may have placeholders.
	ResponseHeader map[string]string `toml:"response_header"`
	// RemoveResponseHeader names fields that the client doesn't get.
	RemoveResponseHeader []string `toml:"remove_response_header"`
	// RewriteLocation turns Location and the Path of Set-Cookie in answers to plain requests back into what the client knows.
	RewriteLocation bool `toml:"rewrite_location" default:"false"`
	// EncodedSlashes says what happens to a request whose path has %2f or %5c: "auto" refuses it only if the decoded path leads to another
	// route; "refuse"; "pass".
	EncodedSlashes string `toml:"encoded_slashes" default:"auto"`
	// PathParameters says the same of a path with ";": "auto" refuses it only if the path without parameters leads to another route; "pass".
	PathParameters string `toml:"path_parameters" default:"auto"`

	// Ping is "mirror" (the gateway answers pings itself, and pings the other side with the same payload), "answer" (it answers them
	// alone) or "forward".
	Ping string `toml:"ping" default:"mirror"`

	PingInterval        units.Duration         `toml:"ping_interval" default:"20s"`        // of clients; 0 means off
	BackendPingInterval units.OptionalDuration `toml:"backend_ping_interval" default:""`   // open means as PingInterval
	PongTimeout         units.Duration         `toml:"pong_timeout" default:"10s"`         // of clients
	BackendPongTimeout  units.OptionalDuration `toml:"backend_pong_timeout" default:"60s"` // open means as PongTimeout

	IdleTimeout  units.Duration `toml:"idle_timeout" default:"0s"` // 0 means off
	CloseTimeout units.Duration `toml:"close_timeout" default:"5s"`
	WriteTimeout units.Duration `toml:"write_timeout" default:"60s"`
	CloseCodes   CloseCodes     `toml:"close_codes"`

	ConnectTimeout   units.Duration `toml:"connect_timeout" default:"3s"`    // of one dial
	HandshakeTimeout units.Duration `toml:"handshake_timeout" default:"10s"` // from dial to 101, with all retries

	// ResponseTimeout bounds the time until a backend begins its answer to a plain request.
	ResponseTimeout units.Duration `toml:"response_timeout" default:"60s"`

	// RequestBody bounds the body of a plain request; 0 means no limit.
	RequestBody units.Bytes `toml:"request_body" default:"64MiB"`

	MaxFrame   units.Bytes `toml:"max_frame" default:"256MiB"`   // 0 means no limit
	MaxMessage units.Bytes `toml:"max_message" default:"256MiB"` // 0 means no limit
}

// A Share is a pool of a route that has several.
type Share struct {
	// Pool names the pool.
	Pool string `toml:"pool"`
	// Weight is its share of the sessions and requests against the others'.
	Weight int `toml:"weight" default:"1"`
}

// A Respond is an answer of the gateway's own.
type Respond struct {
	Status int    `toml:"status" default:"200"`
	Body   string `toml:"body"`
}

// CloseCodes are the codes of the closes that the gateway sends on its own; 0 means that it sends none, and the stream ends.
type CloseCodes struct {
	Drained     int `toml:"drained" default:"1012"`
	BackendLost int `toml:"backend_lost" default:"1012"`
	ClientLost  int `toml:"client_lost" default:"1001"`
}

// Check reports every problem of the section.
func (c *Config) Check(report units.Report) {
	c.checkMatch(report)
	c.checkAccess(report)
	c.checkPools(report)
	c.checkRewrite(report)
	for i, s := range c.Origins {
		if _, err := parseOriginRule(s); err != nil {
			report(units.Indexed("origins", i), err.Error(), s, `"https://example.com", "https://*.example.com", "https://*", "same", "null" or the like`)
		}
	}
	if c.EncodedSlashes != "auto" && c.EncodedSlashes != "refuse" && c.EncodedSlashes != "pass" {
		report("encoded_slashes", "unknown", c.EncodedSlashes, "\"auto\", \"refuse\" or \"pass\"")
	}
	if c.PathParameters != "auto" && c.PathParameters != "pass" {
		report("path_parameters", "unknown", c.PathParameters, "\"auto\" or \"pass\"")
	}
	if _, isKnown := pingModes[c.Ping]; !isKnown {
		report("ping", "unknown", c.Ping, "\"mirror\", \"answer\" or \"forward\"")
	}
	for _, d := range []struct {
		key     string
		value   units.Duration
		canBeNo bool
	}{
		{"ping_interval", c.PingInterval, true},
		{"backend_ping_interval", c.BackendPingInterval.Or(0), true},
		{"pong_timeout", c.PongTimeout, false},
		{"backend_pong_timeout", c.BackendPongTimeout.Or(c.PongTimeout), false},
		{"idle_timeout", c.IdleTimeout, true},
		{"close_timeout", c.CloseTimeout, false},
		{"write_timeout", c.WriteTimeout, false},
		{"connect_timeout", c.ConnectTimeout, false},
		{"handshake_timeout", c.HandshakeTimeout, false},
		{"response_timeout", c.ResponseTimeout, false},
	} {
		switch {
		case d.value < 0:
			report(d.key, "negative", d.value, "a duration such as \"30s\"")
		case d.value == 0 && !d.canBeNo:
			report(d.key, "zero", d.value, "a duration over 0s")
		}
	}
	for _, d := range []struct {
		key   string
		value int
	}{
		{"close_codes.drained", c.CloseCodes.Drained},
		{"close_codes.backend_lost", c.CloseCodes.BackendLost},
		{"close_codes.client_lost", c.CloseCodes.ClientLost},
	} {
		if d.value != 0 && !relay.IsCloseCode(d.value) {
			report(d.key, "not a close code that may be sent", d.value, "1000-1003, 1007-1014 or 3000-4999, or 0 for no close")
		}
	}
	if c.RequestBody < 0 {
		report("request_body", "negative", c.RequestBody, "a size such as \"64MiB\", or 0 for no limit")
	}
	if c.MaxFrame < 0 {
		report("max_frame", "negative", c.MaxFrame, "a size such as \"256MiB\", or 0 for no limit")
	}
	if c.MaxMessage < 0 {
		report("max_message", "negative", c.MaxMessage, "a size such as \"256MiB\", or 0 for no limit")
	}
}

// Warn reports what the section may have and its operator may not want.
func (c *Config) Warn(report units.Report) {
	if c.ConnectTimeout > c.HandshakeTimeout {
		report("connect_timeout", "over handshake_timeout, which ends a dial earlier", c.ConnectTimeout, "at most "+c.HandshakeTimeout.String())
	}
	c.warnOfRewriting(report)
}

// pingModes are the values of ping.
var pingModes = map[string]relay.PingMode{"mirror": relay.MirrorPings, "answer": relay.AnswerPings, "forward": relay.ForwardPings}
