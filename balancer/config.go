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

// A Config is one [[pool]] of the configuration.
type Config struct {
	Name string `toml:"name"`
	// Policy is how a backend is chosen: round_robin, least_conn, random_two, random, ip_hash, hash
	// or sticky.
	Policy  string          `toml:"policy" default:"least_conn"`
	Backend []BackendConfig `toml:"backend"`

	// Retries is how many other backends a handshake may try after its first one failed.
	Retries int `toml:"retries" default:"2"`
	// RetryStatuses are answers of a backend that are tried elsewhere, too; of 500 to 599.
	RetryStatuses []int `toml:"retry_statuses"`

	// SendProxy begins each connection to a backend with a PROXY header, version 2, that tells of the
	// client.
	SendProxy bool `toml:"send_proxy" default:"false"`

	// QueueTimeout is how long a handshake waits for a place when every backend is full; 0: not at
	// all. At most Queue handshakes wait.
	QueueTimeout units.Duration `toml:"queue_timeout" default:"0s"`
	Queue        int            `toml:"queue" default:"1024"`
	// RetryAfter is what a client is told that was refused since every backend is full.
	RetryAfter units.Duration `toml:"retry_after" default:"5s"`

	// SlowStart is how long the weight of a member that comes, or comes back, takes to grow to
	// what is configured; 0: no time.
	SlowStart units.Duration `toml:"slow_start" default:"0s"`
	// Panic chooses among all members, rather than refuse, when none is available.
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
	// "unix:/path". With discovery a name stands for as many members as it has addresses.
	Address string `toml:"address"`
	// Weight is the backend's share against the others'; 1 to MaxWeight.
	Weight int `toml:"weight" default:"1"`
	// Backup keeps the backend for when no other is available.
	Backup bool `toml:"backup" default:"false"`
	// MaxSessions is how many live sessions it takes; 0: no limit.
	MaxSessions int64 `toml:"max_sessions" default:"0"`
}

// MaxWeight is the largest weight of a backend: that of an SRV record.
const MaxWeight = 65535

// A HashConfig says what the policy hash takes its key from: exactly one of the first four.
type HashConfig struct {
	Header string `toml:"header"`
	Cookie string `toml:"cookie"`
	Query  string `toml:"query"`
	Path   bool   `toml:"path" default:"false"`
	// BoundedLoad is how many times its share of the live sessions a backend may hold before keys
	// of its go elsewhere (hash and ip_hash); 0: as many as come. With it the choice depends on
	// this process's sessions, without it every gateway process answers alike.
	BoundedLoad float64 `toml:"bounded_load" default:"0"`
}

// A StickyConfig is the cookie of the policy sticky.
type StickyConfig struct {
	Cookie string `toml:"cookie" default:"sluice"`
	// Secret signs the cookie, at least 16 bytes; every gateway process of one site needs the same.
	// SecretFile is a file that holds it.
	Secret     string `toml:"secret"`
	SecretFile string `toml:"secret_file"`
	// TTL is the cookie's Max-Age, counted anew at each handshake; 0: as long as the browser lives.
	TTL      units.Duration `toml:"ttl" default:"0s"`
	Path     string         `toml:"path" default:"/"`
	Domain   string         `toml:"domain"`
	Secure   bool           `toml:"secure" default:"false"`
	HTTPOnly bool           `toml:"http_only" default:"true"`
	// SameSite is lax, strict, none (needs secure) or empty: not said.
	SameSite string `toml:"same_site" default:"lax"`
}

// A DiscoveryConfig is how the backends that a name stands for are found.
type DiscoveryConfig = discovery.Config

// A HealthConfig is the active health check of a pool's backends.
type HealthConfig = probe.Config

// An EjectionConfig takes members out whose real traffic fails.
type EjectionConfig struct {
	// Failures is how many handshakes in a row must fail: dial errors, time-outs, bad answers and
	// Statuses; 0: off.
	Failures int `toml:"failures" default:"0"`
	// Lost is how many sessions in a row must end abnormally on the backend's side; 0: off.
	Lost int `toml:"lost" default:"0"`
	// Window is how long ago the first failure of a row may be.
	Window units.Duration `toml:"window" default:"30s"`
	// Statuses are the answers that count as failures; empty: 500, 502, 503, 504.
	Statuses []int `toml:"statuses"`
	// BaseTime is how long a first ejection lasts. Each further one lasts twice as long as the one
	// before, up to MaxTime; a member that kept its place for MaxTime begins anew.
	BaseTime units.Duration `toml:"base_time" default:"30s"`
	MaxTime  units.Duration `toml:"max_time" default:"5m"`
	// MaxPercent is the share of the members that may be ejected at once, though always one.
	MaxPercent int `toml:"max_percent" default:"50"`
}

// A RebalanceConfig closes the surplus of members that hold more than their share.
type RebalanceConfig struct {
	// Rate is how many sessions a second are closed at most; 0: off.
	Rate int `toml:"rate" default:"0"`
	// Tolerance is how many percent a member may be off its share.
	Tolerance int `toml:"tolerance" default:"5"`
	// Interval is the time between two looks at the shares, and that which closed clients have to
	// come back before the next.
	Interval units.Duration `toml:"interval" default:"30s"`
}
