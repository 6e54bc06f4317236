package route

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/balancer"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// A Route is a [[route]] ready for use. Immutable, except IsRemoved and HasRefusedPing.
type Route struct {
	Config   *Config
	Name     string // host and path: its name in logs and metrics
	Listener string // "" means every listener
	Host     string // lower case; "" means any; "*.example.com" is ".example.com"
	Path     string // without a slash at its end, except "/"
	Origins  []OriginRule
	Pool     *balancer.Pool
	PoolName string

	SendsProxy  bool // a connection to a backend begins with a PROXY header
	IsHTTP2     bool // sessions are streams of connections to the backends
	Connections int  // with IsHTTP2: connections of an event loop to a backend at most
	Streams     int  // with IsHTTP2: streams of one of them at most

	PassesHTTP    bool
	Plain         http.Handler // serves the requests that are not WebSocket; set once, by the owner of the table
	StripPrefix   int          // bytes
	SetHeaders    []upgrade.Field
	RemoveHeaders []string
	MaxBody       int64 // bytes of the body of a plain request

	Relay            relay.Config
	CloseCodes       CloseCodes
	ConnectTimeout   time.Duration
	HandshakeTimeout time.Duration
	ResponseTimeout  time.Duration
	WriteTimeout     time.Duration

	HasRefusedPing atomic.Bool // a backend has ended a session of it at the first ping

	IsRemoved atomic.Bool // its sessions have to end, also those that begin now
}

// A Key identifies a route across configurations.
type Key struct{ listener, host, path string }

// Key returns the key of the route.
func (r *Route) Key() Key { return Key{r.Listener, r.Host, r.Path} }

// KeyOf returns the key of the route that has that listener, host and path, which are in the form of Route.
func KeyOf(listener, host, path string) Key { return Key{listener, host, path} }

// New makes a route from its section, the section of its pool, and the pool.
func New(c *Config, pc *balancer.Config, pool *balancer.Pool) *Route {
	path := c.Path
	if path != "/" {
		path = strings.TrimRight(path, "/")
	}
	r := &Route{
		Config:   c,
		Name:     c.Host + path,
		Listener: c.Listener,
		Host:     canonicalHost(strings.Trim(strings.TrimPrefix(strings.ToLower(c.Host), "*"), "[]")),
		Path:     path,
		Pool:     pool,
		PoolName: pc.Name,

		PassesHTTP:    c.HTTP,
		StripPrefix:   len(strings.TrimRight(c.StripPrefix, "/")),
		RemoveHeaders: c.RemoveHeader,
		MaxBody:       cmp.Or(int64(c.RequestBody), math.MaxInt64),

		SendsProxy:  pc.SendProxy,
		IsHTTP2:     pc.Protocol == balancer.ProtocolHTTP2,
		Connections: pc.Connections,
		Streams:     pc.Streams,

		Relay: relay.Config{
			MaxFrame:     int64(c.MaxFrame),
			MaxMessage:   int64(c.MaxMessage),
			Pings:        pingModes[c.Ping],
			PingInterval: [2]time.Duration{c.PingInterval.Std(), c.BackendPingInterval.Or(c.PingInterval).Std()},
			PongTimeout:  [2]time.Duration{c.PongTimeout.Std(), c.BackendPongTimeout.Or(c.PongTimeout).Std()},
			IdleTimeout:  time.Duration(c.IdleTimeout),
			CloseTimeout: time.Duration(c.CloseTimeout),
			WriteTimeout: time.Duration(c.WriteTimeout),
			BackendLost:  uint16(c.CloseCodes.BackendLost),
			ClientLost:   uint16(c.CloseCodes.ClientLost),
		},
		CloseCodes:       c.CloseCodes,
		ConnectTimeout:   time.Duration(c.ConnectTimeout),
		HandshakeTimeout: time.Duration(c.HandshakeTimeout),
		ResponseTimeout:  time.Duration(c.ResponseTimeout),
		WriteTimeout:     time.Duration(c.WriteTimeout),
	}
	for _, s := range c.Origins {
		o, _ := parseOriginRule(s) // checked
		r.Origins = append(r.Origins, o)
	}
	for _, name := range slices.Sorted(maps.Keys(c.RequestHeader)) {
		r.SetHeaders = append(r.SetHeaders, upgrade.Field{Name: name, Value: c.RequestHeader[name]})
	}
	return r
}

// HasSegments reports whether path begins with the whole segments of prefix.
func HasSegments(path, prefix string) bool {
	prefix = strings.TrimRight(prefix, "/")
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// encodedOctet matches the octets that are decoded in the path of a request before a route is searched for it.
var encodedOctet = regexp.MustCompile(`(?i)%([013467][0-9a-f]|2[0-9a-e]|5[0-9abd-f]|[89a-f][0-9a-f])`)

// IsReachable reports whether a request can have this path of a route, or a path below it.
func IsReachable(path string) bool {
	segments := strings.Split(path, "/")
	return !slices.Contains(segments, ".") && !slices.Contains(segments, "..") && !strings.Contains(path, "//") &&
		!encodedOctet.MatchString(path)
}

// A Table is all routes, the more exact ones first. Immutable.
type Table []*Route

// NewTable returns the table of those routes.
func NewTable(all []*Route) Table {
	table := slices.Clone(all)
	slices.SortStableFunc(table, func(a, b *Route) int {
		return cmp.Or(
			cmp.Compare(b.hostRank(), a.hostRank()),
			cmp.Compare(len(b.Path), len(a.Path)),
			cmp.Compare(len(b.Listener), len(a.Listener)), // a named listener before ""
		)
	})
	return table
}

// hostRank orders hosts: an exact host ranks over wildcards, a longer wildcard over a shorter one, and any of them over "".
func (r *Route) hostRank() int {
	switch {
	case r.Host == "":
		return 0
	case r.Host[0] == '.':
		return len(r.Host)
	default:
		return 1 << 16
	}
}

// Match returns the route of a request; nil if there is none. It may be refused with either: also because its backend could read the path as
// one of another route, or because the gateway is its own backend.
func (t Table) Match(listener string, req *upgrade.Request) (*Route, *upgrade.Rejection) {
	host := req.Hostname()
	found := t.Find(listener, host, req.Path())
	switch {
	case found == nil:
		return nil, upgrade.ErrNoRoute
	case req.IsLoop():
		return found, upgrade.ErrLoop
	case req.IsEncodedSlash() && found.Config.EncodedSlashes == "refuse":
		return found, upgrade.ErrEncodedSlash
	}
	for path, rejection := range req.Ambiguities(found.Config.EncodedSlashes == "auto", found.Config.PathParameters == "auto") {
		if t.Find(listener, host, path) != found {
			return found, rejection
		}
	}
	return found, nil
}

// Find returns the first route that matches a request, or nil. host is in lower case, without port and trailing dot; path is as from
// upgrade.Request.Path. Find allocates only for an IPv6 address.
func (t Table) Find(listener string, host, path []byte) *Route {
	if bytes.IndexByte(host, ':') >= 0 {
		host = []byte(canonicalHost(string(host)))
	}
	for _, r := range t {
		if (r.Listener == "" || r.Listener == listener) && r.MatchesHost(host) && r.MatchesPath(path) {
			return r
		}
	}
	return nil
}

// canonicalHost returns an IPv6 address in the form of RFC 5952, and any other host unchanged.
func canonicalHost(host string) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return a.String()
	}
	return host
}

// MatchesHost reports whether the route matches a host, which is in the form of Find.
func (r *Route) MatchesHost(host []byte) bool {
	switch {
	case r.Host == "":
		return true
	case r.Host[0] == '.':
		n := len(host) - len(r.Host)
		return n > 0 && string(host[n:]) == r.Host
	default:
		return string(host) == r.Host
	}
}

// MatchesPath reports whether the route's path consists of the first segments of path.
func (r *Route) MatchesPath(path []byte) bool {
	if r.Path == "/" {
		return true
	}
	n := len(r.Path)
	return len(path) >= n && string(path[:n]) == r.Path && (len(path) == n || path[n] == '/')
}
