package route

import (
	"cmp"
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
)

// A Route is a [[route]] ready for use, with one of its pools. Of a [[route]] with several pools there are as many Routes, its variants.
// Immutable, except IsRemoved and HasRefusedPing.
type Route struct {
	Conditions
	Config   *Config
	Name     string // Config.Title: its name in logs and metrics
	Priority int
	Origins  []OriginRule
	allow    Prefixes // empty means any client
	deny     Prefixes
	Pool     *balancer.Pool // nil if the route answers by itself
	PoolName string         // "" without a pool
	Changes

	poolConfig *balancer.Config
	variants   []*Route        // all of them, this one too; nil: this is the only one
	split      *balancer.Split // with several variants: chooses among their pools

	SendsProxy  bool // a connection to a backend begins with a PROXY header
	IsHTTP2     bool // sessions are streams of connections to the backends
	Connections int  // with IsHTTP2: connections of an event loop to a backend at most
	Streams     int  // with IsHTTP2: streams of one of them at most

	PassesHTTP bool
	Plain      http.Handler // serves the requests that are not WebSocket; set once, by the owner of the table
	MaxBody    int64        // bytes of the body of a plain request

	Relay            relay.Config
	CloseCodes       CloseCodes
	ConnectTimeout   time.Duration
	HandshakeTimeout time.Duration
	ResponseTimeout  time.Duration
	WriteTimeout     time.Duration

	key Key

	HasRefusedPing atomic.Bool // a backend has ended a session of it at the first ping

	IsRemoved atomic.Bool // its sessions have to end, also those that begin now
}

// New makes a route from its section, the section of its pool, and the pool; both are nil if the route answers by itself.
func New(c *Config, pc *balancer.Config, pool *balancer.Pool) *Route {
	r := &Route{
		Conditions: newConditions(c),

		Config:   c,
		Name:     c.Title(),
		Priority: c.Priority,
		Pool:     pool,
		Changes:  newChanges(c, prefixOf(c.Path)),

		poolConfig: pc,

		PassesHTTP: c.HTTP || c.AnswersItself(),
		MaxBody:    cmp.Or(int64(c.RequestBody), math.MaxInt64),

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
	if pc != nil {
		r.PoolName, r.SendsProxy, r.IsHTTP2 = pc.Name, pc.SendProxy, pc.Protocol == balancer.ProtocolHTTP2
		r.Connections, r.Streams = pc.Connections, pc.Streams
	}
	r.key = r.makeKey()
	r.allow, _ = ParsePrefixes(c.Allow) // checked
	r.deny, _ = ParsePrefixes(c.Deny)
	for _, s := range c.Origins {
		o, _ := parseOriginRule(s) // checked
		r.Origins = append(r.Origins, o)
	}
	return r
}

// NewStranger returns a route of another process, which this one's configuration lacks. The caller adds what its sessions need.
func NewStranger(key Key) *Route { return &Route{key: key} }

// Key returns what identifies the route. It is the same for all routes that New has made of a section.
func (r *Route) Key() Key { return r.key }

// SentKey returns the key for another process; nil if KeyOf returns it for the route's listener, first host and path.
func (r *Route) SentKey() []byte {
	if r.Config != nil && r.IsPlain() {
		return nil
	}
	return r.key[:]
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

// canonicalHost returns an IPv6 address in the form of RFC 5952, and any other host unchanged.
func canonicalHost(host string) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return a.String()
	}
	return host
}
