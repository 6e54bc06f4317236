package proxy

import (
	"cmp"
	"maps"
	"net/http/httputil"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/balancer"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// A route is a [[route]] ready for use. Immutable, but for isRemoved.
type route struct {
	config   *RouteConfig
	name     string // host and path: its name in logs and metrics
	listener string // "": every one
	host     string // lower case; "": any; "*.example.com" is ".example.com"
	path     string // without a slash at its end, but for "/"
	origins  []originRule
	pool     *balancer.Pool
	poolName string

	dialer     dialer
	sendsProxy bool // a connection to a backend begins with a PROXY header

	passesHTTP         bool
	transport          *plainTransport        // of plain requests
	plain              *httputil.ReverseProxy // for plain requests
	passesEncodedSlash bool
	stripPrefix        int // bytes
	setHeaders         []upgrade.Field
	removeHeaders      []string

	relay            relay.Config
	closeCodes       CloseCodes
	connectTimeout   time.Duration
	handshakeTimeout time.Duration
	responseTimeout  time.Duration
	writeTimeout     time.Duration

	isRemoved atomic.Bool // its sessions are to end, those that begin now too
}

// A routeKey is what makes a route of one configuration that of another.
type routeKey struct{ listener, host, path string }

func (r *route) key() routeKey { return routeKey{r.listener, r.host, r.path} }

// newRoute makes a route of its section, that of its pool, and the pool.
func newRoute(c *RouteConfig, pc *balancer.Config, pool *balancer.Pool) *route {
	path := c.Path
	if path != "/" {
		path = strings.TrimRight(path, "/")
	}
	r := &route{
		config:   c,
		name:     c.Host + path,
		listener: c.Listener,
		host:     strings.Trim(strings.TrimPrefix(strings.ToLower(c.Host), "*"), "[]"),
		path:     path,
		pool:     pool,
		poolName: pc.Name,

		passesHTTP:         c.HTTP,
		passesEncodedSlash: c.EncodedSlashes == "pass",
		stripPrefix:        len(strings.TrimRight(c.StripPrefix, "/")),
		removeHeaders:      c.RemoveHeader,

		sendsProxy: pc.SendProxy,
		relay: relay.Config{
			MaxFrame:     int64(c.MaxFrame),
			MaxMessage:   int64(c.MaxMessage),
			ForwardPings: c.Ping == "forward",
			PingInterval: time.Duration(c.PingInterval),
			PongTimeout:  time.Duration(c.PongTimeout),
			IdleTimeout:  time.Duration(c.IdleTimeout),
			CloseTimeout: time.Duration(c.CloseTimeout),
			WriteTimeout: time.Duration(c.WriteTimeout),
			BackendLost:  uint16(c.CloseCodes.BackendLost),
			ClientLost:   uint16(c.CloseCodes.ClientLost),
		},
		closeCodes:       c.CloseCodes,
		connectTimeout:   time.Duration(c.ConnectTimeout),
		handshakeTimeout: time.Duration(c.HandshakeTimeout),
		responseTimeout:  time.Duration(c.ResponseTimeout),
		writeTimeout:     time.Duration(c.WriteTimeout),
	}
	r.transport = newPlainTransport(r)
	for _, s := range c.Origins {
		o, _ := parseOriginRule(s) // checked
		r.origins = append(r.origins, o)
	}
	for _, name := range slices.Sorted(maps.Keys(c.RequestHeader)) {
		r.setHeaders = append(r.setHeaders, upgrade.Field{Name: name, Value: c.RequestHeader[name]})
	}
	return r
}

// hasSegments tells whether path begins with the whole segments of prefix.
func hasSegments(path, prefix string) bool {
	prefix = strings.TrimRight(prefix, "/")
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// encodedOctet is one that is decoded in the paths of requests before a route is looked for.
var encodedOctet = regexp.MustCompile(`(?i)%([013467][0-9a-f]|2[0-9a-e]|5[0-9abd-f]|[89a-f][0-9a-f])`)

// isReachable tells whether any request can have the path of a route, or one below it.
func isReachable(path string) bool {
	segments := strings.Split(path, "/")
	return !slices.Contains(segments, ".") && !slices.Contains(segments, "..") && !strings.Contains(path, "//") &&
		!encodedOctet.MatchString(path)
}

// routes is the table of all routes, the more exact ones first. Immutable.
type routes []*route

func newRoutes(all []*route) routes {
	table := slices.Clone(all)
	slices.SortStableFunc(table, func(a, b *route) int {
		return cmp.Or(
			cmp.Compare(b.hostRank(), a.hostRank()),
			cmp.Compare(len(b.path), len(a.path)),
			cmp.Compare(len(b.listener), len(a.listener)), // a named listener before every one
		)
	})
	return table
}

// hostRank orders hosts: an exact one before wildcards, a longer wildcard before a shorter one, any last.
func (r *route) hostRank() int {
	switch {
	case r.host == "":
		return 0
	case r.host[0] == '.':
		return len(r.host)
	default:
		return 1 << 16
	}
}

// find returns the route of a request: that of the most exact host which has one for the path, nil if there is none. host is lower
// case without port and trailing dot, path is as upgrade.Request.Path gives it. It doesn't allocate.
func (t routes) find(listener string, host, path []byte) *route {
	for _, r := range t {
		if (r.listener == "" || r.listener == listener) && r.matchesHost(host) && r.matchesPath(path) {
			return r
		}
	}
	return nil
}

func (r *route) matchesHost(host []byte) bool {
	switch {
	case r.host == "":
		return true
	case r.host[0] == '.':
		n := len(host) - len(r.host)
		return n > 0 && string(host[n:]) == r.host
	default:
		return string(host) == r.host
	}
}

// matchesPath tells whether the route's path is a prefix of whole segments.
func (r *route) matchesPath(path []byte) bool {
	if r.path == "/" {
		return true
	}
	n := len(r.path)
	return len(path) >= n && string(path[:n]) == r.path && (len(path) == n || path[n] == '/')
}
