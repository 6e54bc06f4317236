package balancer

import (
	"sluice/balancer/discovery"
	"sluice/balancer/probe"
	"sluice/internal/units"
)

// The policies, as the configuration names them.
const (
	PolicyRoundRobin = "round_robin"
	PolicyLeastConn  = "least_conn"
	PolicyRandomTwo  = "random_two"
	PolicyRandom     = "random"
	PolicyIPHash     = "ip_hash"
	PolicyHash       = "hash"
	PolicySticky     = "sticky"
)

// The failures after which another backend is tried, as the configuration names them.
const (
	RetryConnect = "connect" // no connection, or no TLS: nothing was sent
	RetryReset   = "reset"   // the connection ended before a byte of the answer
	RetryTimeout = "timeout" // the request was sent, and no answer came in time
)

// The protocols that are spoken with backends, as the configuration names them.
const (
	ProtocolHTTP1 = "http/1.1" // a connection for each session
	ProtocolHTTP2 = "h2"       // sessions are streams of a few connections (RFC 8441)
)

// A Config is one [[pool]] of the configuration.
type Config struct {
	Name string `toml:"name"`
	// Policy chooses a backend: round_robin, least_conn, random_two, random, ip_hash, hash or sticky.
	Policy  string          `toml:"policy" default:"least_conn"`
	Backend []BackendConfig `toml:"backend"`

	// Retries is how many other backends a handshake may try after the first one failed.
	Retries int `toml:"retries" default:"2"`
	// RetryOn lists the failures after which another backend is tried: RetryConnect, RetryReset and
	// RetryTimeout. After the last two the backend may already have handled the request.
	RetryOn []string `toml:"retry_on" default:"connect,reset"`
	// RetryStatuses are the answers, from 500 to 599, after which another backend is tried.
	RetryStatuses []int `toml:"retry_statuses"`

	// Protocol is what the backends speak: ProtocolHTTP1, also if it is empty, or ProtocolHTTP2.
	Protocol string `toml:"protocol" default:"http/1.1"`
	// Connections is how many connections to a backend each event loop opens at most with ProtocolHTTP2, and Streams how many sessions one
	// of them carries at most.
	Connections int `toml:"connections" default:"4"`
	Streams     int `toml:"streams" default:"128"`

	// SendProxy begins each connection to a backend with a PROXY header, version 2, that carries the
	// client's address.
	SendProxy bool `toml:"send_proxy" default:"false"`

	// QueueTimeout is how long a handshake waits for a place when every backend is full. 0 means that it
	// does not wait. At most Queue handshakes wait.
	QueueTimeout units.Duration `toml:"queue_timeout" default:"0s"`
	Queue        int            `toml:"queue" default:"1024"`
	// RetryAfter is the Retry-After of a 503 that is sent because every backend is full.
	RetryAfter units.Duration `toml:"retry_after" default:"5s"`

	// SlowStart is the time in which the weight of a backend that joins, or comes back, grows to its
	// configured value. 0 means at once.
	SlowStart units.Duration `toml:"slow_start" default:"0s"`
	// Panic makes the pool choose among all backends when none is available. Without it clients get 503.
	Panic bool `toml:"panic" default:"true"`

	Hash      HashConfig      `toml:"hash"`
	Sticky    StickyConfig    `toml:"sticky"`
	Discovery DiscoveryConfig `toml:"discovery"`
	Health    HealthConfig    `toml:"health"`
	Ejection  EjectionConfig  `toml:"ejection"`
	Rebalance RebalanceConfig `toml:"rebalance"`
}

// A BackendConfig is one element of a pool's backend list.
type BackendConfig struct {
	// Address is "host:port", "ws://host:port", "wss://host:port" (TLS to the backend) or
	// "unix:/path". With discovery a name stands for as many backends as it has addresses.
	Address string `toml:"address"`
	// Weight is the backend's share relative to the others, from 1 to MaxWeight.
	Weight int `toml:"weight" default:"1"`
	// Backup keeps the backend for when no other is available.
	Backup bool `toml:"backup" default:"false"`
	// MaxSessions is the maximum of live sessions. 0 means no limit.
	MaxSessions int64 `toml:"max_sessions" default:"0"`
}

// MaxWeight is the largest weight of a backend: that of an SRV record.
const MaxWeight = 65535

// A HashConfig selects the key of the policy hash: exactly one of the first four.
type HashConfig struct {
	Header string `toml:"header"`
	Cookie string `toml:"cookie"`
	Query  string `toml:"query"`
	Path   bool   `toml:"path" default:"false"`
	// BoundedLoad is how many times its share of the live sessions a backend may hold before its keys go
	// to other backends (hash and ip_hash). 0 means no bound. With a bound the choice depends on the
	// sessions of this process; without one every gateway process chooses alike.
	BoundedLoad float64 `toml:"bounded_load" default:"0"`
}

// A StickyConfig describes the cookie of the policy sticky.
type StickyConfig struct {
	Cookie string `toml:"cookie" default:"sluice"`
	// Secret signs the cookie, at least 16 bytes; every gateway process of one site needs the same.
	// SecretFile is a file that holds it.
	Secret     string `toml:"secret"`
	SecretFile string `toml:"secret_file"`
	// TTL is the cookie's Max-Age, renewed by each handshake. 0 means until the browser ends.
	TTL      units.Duration `toml:"ttl" default:"0s"`
	Path     string         `toml:"path" default:"/"`
	Domain   string         `toml:"domain"`
	Secure   bool           `toml:"secure" default:"false"`
	HTTPOnly bool           `toml:"http_only" default:"true"`
	// SameSite is lax, strict, none (needs secure), or empty: the attribute is left out.
	SameSite string `toml:"same_site" default:"lax"`
}

// A DiscoveryConfig is how the backends that a name stands for are found.
type DiscoveryConfig = discovery.Config

// A HealthConfig is the active health check of a pool's backends.
type HealthConfig = probe.Config

// An EjectionConfig ejects backends whose real traffic fails.
type EjectionConfig struct {
	// Failures is how many consecutive handshakes must fail: dial errors, time-outs, bad answers and
	// Statuses. 0 means off.
	Failures int `toml:"failures" default:"3"`
	// Lost is how many consecutive sessions must be lost by the backend. 0 means off.
	Lost int `toml:"lost" default:"0"`
	// Window is the time within which failures count as consecutive.
	Window units.Duration `toml:"window" default:"30s"`
	// Statuses are the answers that count as failures. Empty means 502, 503, 504.
	Statuses []int `toml:"statuses"`
	// BaseTime is the duration of the first ejection. Each further one lasts twice as long as the one
	// before, up to MaxTime. A backend that was not ejected for MaxTime starts again with BaseTime. An
	// ejection ends when a trial of the backend succeeds; after one that fails the next is due in BaseTime.
	BaseTime units.Duration `toml:"base_time" default:"30s"`
	MaxTime  units.Duration `toml:"max_time" default:"5m"`
	// MaxPercent is the share of the backends, rounded up, that may be ejected at once.
	MaxPercent int `toml:"max_percent" default:"50"`
}

// A RebalanceConfig closes the surplus of backends that hold more than their share.
type RebalanceConfig struct {
	// Rate is the maximum of sessions that are closed per second. 0 means off.
	Rate int `toml:"rate" default:"0"`
	// Tolerance is how far, in percent, a backend may be off its share.
	Tolerance int `toml:"tolerance" default:"5"`
	// Interval is the time between two comparisons of the shares. Clients whose sessions were closed have
	// this time to come back.
	Interval units.Duration `toml:"interval" default:"30s"`
}
