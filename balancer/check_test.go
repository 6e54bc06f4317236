package balancer

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// problemsOf returns the keys that Check reports.
func problemsOf(c Config) map[string]string {
	problems := make(map[string]string)
	c.Check(func(key, problem string, got any, want string) { problems[key] = problem })
	return problems
}

func TestCheckReportsEveryProblem(t *testing.T) {
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hash, sticky := configOf(PolicyHash, 2), configOf(PolicySticky, 2)
	sound := ejectionConfig(3)
	sound.Health = healthConfig(1).Health
	sound.Rebalance = rebalanceConfig(1).Rebalance
	for _, test := range []struct {
		name   string
		base   Config
		change func(*Config)
		key    string // empty: none is reported
	}{
		{"sound", sound, func(*Config) {}, ""},
		{"sound hash", hash, func(*Config) {}, ""},
		{"sound sticky", sticky, func(*Config) {}, ""},
		{"no name", sound, func(c *Config) { c.Name = "" }, "name"},
		{"unknown policy", sound, func(c *Config) { c.Policy = "fastest" }, "policy"},
		{"no policy", sound, func(c *Config) { c.Policy = "" }, "policy"},
		{"no backend", sound, func(c *Config) { c.Backend = nil }, "backend"},
		{"weight 0", sound, func(c *Config) { c.Backend[1].Weight = 0 }, "backend[1].weight"},
		{"weight too large", sound, func(c *Config) { c.Backend[1].Weight = 65536 }, "backend[1].weight"},
		{"negative max_sessions", sound, func(c *Config) { c.Backend[2].MaxSessions = -1 }, "backend[2].max_sessions"},
		{"no port", sound, func(c *Config) { c.Backend[0].Address = "localhost" }, "backend[0].address"},
		{"port 0", sound, func(c *Config) { c.Backend[0].Address = "localhost:0" }, "backend[0].address"},
		{"a path", sound, func(c *Config) { c.Backend[0].Address = "ws://localhost:80/chat" }, "backend[0].address"},
		{"another scheme", sound, func(c *Config) { c.Backend[0].Address = "http://localhost:80" }, "backend[0].address"},
		{"no path of a unix socket", sound, func(c *Config) { c.Backend[0].Address = "unix:" }, "backend[0].address"},
		{"an SRV name without srv", sound, func(c *Config) { c.Backend[0].Address = "_ws._tcp.test" }, "backend[0].address"},
		{"two of one address", sound, func(c *Config) { c.Backend[2].Address = c.Backend[0].Address }, "backend[2].address"},
		{"two of one address in two spellings", sound, func(c *Config) {
			c.Backend[0].Address, c.Backend[2].Address = "LOCALHOST:9000", "ws://localhost:9000"
		}, "backend[2].address"},
		{"two of one IPv6 address", sound, func(c *Config) {
			c.Backend[0].Address, c.Backend[2].Address = "[::1]:9000", "[0:0::0:1]:9000"
		}, "backend[2].address"},
		{"negative retries", sound, func(c *Config) { c.Retries = -1 }, "retries"},
		{"an unknown failure to retry", sound, func(c *Config) { c.RetryOn = []string{"reset", "error"} }, "retry_on[1]"},
		{"a retry status that is no failure", sound, func(c *Config) { c.RetryStatuses = []int{503, 404} }, "retry_statuses[1]"},
		{"a queue without room", sound, func(c *Config) { c.QueueTimeout, c.Queue = 1e9, 0 }, "queue"},
		{"hash without key", hash, func(c *Config) { c.Hash.Header = "" }, "hash"},
		{"hash of two keys", hash, func(c *Config) { c.Hash.Path = true }, "hash"},
		{"bound under the share", hash, func(c *Config) { c.Hash.BoundedLoad = 0.5 }, "hash.bounded_load"},
		{"bound that is no number", hash, func(c *Config) { c.Hash.BoundedLoad = math.NaN() }, "hash.bounded_load"},
		{"a key beside another policy", hash, func(c *Config) { c.Policy = PolicyRandom }, "hash"},
		{"a bound beside another policy", sound, func(c *Config) { c.Hash.BoundedLoad = 1.25 }, "hash.bounded_load"},
		{"sticky without secret", sticky, func(c *Config) { c.Sticky.Secret = "" }, "sticky.secret"},
		{"a short secret", sticky, func(c *Config) { c.Sticky.Secret = "short" }, "sticky.secret"},
		{"a short secret in a file", sticky, func(c *Config) { c.Sticky.Secret, c.Sticky.SecretFile = "", short }, "sticky.secret_file"},
		{"two secrets", sticky, func(c *Config) { c.Sticky.SecretFile = short }, "sticky.secret_file"},
		{"a cookie's name that is none", sticky, func(c *Config) { c.Sticky.Cookie = "a b" }, "sticky.cookie"},
		{"a cookie's path that ends the attribute", sticky, func(c *Config) { c.Sticky.Path = "/; Secure" }, "sticky.path"},
		{"a cookie's domain that ends the attribute", sticky, func(c *Config) { c.Sticky.Domain = "a;b" }, "sticky.domain"},
		{"same_site none without secure", sticky, func(c *Config) { c.Sticky.SameSite = "none" }, "sticky.same_site"},
		{"an unknown same_site", sticky, func(c *Config) { c.Sticky.SameSite = "some" }, "sticky.same_site"},
		{"an unknown kind of records", sound, func(c *Config) { c.Discovery.DNS = "mx" }, "discovery.dns"},
		{"no interval of discovery", sound, func(c *Config) { c.Discovery = DiscoveryConfig{DNS: "a", Timeout: 1} }, "discovery.interval"},
		{"a DNS server by name", sound, func(c *Config) {
			c.Discovery = DiscoveryConfig{DNS: "a", Timeout: 1, Interval: 1, Server: "localhost:53"}
		}, "discovery.server"},
		{"an unknown probe", sound, func(c *Config) { c.Health.Kind = "icmp" }, "health.kind"},
		{"interval under timeout", sound, func(c *Config) { c.Health.Interval = c.Health.Timeout - 1 }, "health.interval"},
		{"no timeout", sound, func(c *Config) { c.Health.Timeout = 0 }, "health.timeout"},
		{"rise 0", sound, func(c *Config) { c.Health.Rise = 0 }, "health.rise"},
		{"fall 0", sound, func(c *Config) { c.Health.Fall = 0 }, "health.fall"},
		{"a relative path", sound, func(c *Config) { c.Health.Kind, c.Health.Path = "http", "health" }, "health.path"},
		{"a host of two lines", sound, func(c *Config) { c.Health.Host = "a\r\nb" }, "health.host"},
		{"a status out of range", sound, func(c *Config) { c.Health.Status = []int{200, 99} }, "health.status[1]"},
		{"negative failures", sound, func(c *Config) { c.Ejection.Failures = -1 }, "ejection.failures"},
		{"negative lost", sound, func(c *Config) { c.Ejection.Lost = -1 }, "ejection.lost"},
		{"a failure status that is none", sound, func(c *Config) { c.Ejection.Statuses = []int{404} }, "ejection.statuses[0]"},
		{"no window", sound, func(c *Config) { c.Ejection.Window = 0 }, "ejection.window"},
		{"max_time under base_time", sound, func(c *Config) { c.Ejection.MaxTime = 1 }, "ejection.max_time"},
		{"over 100 percent", sound, func(c *Config) { c.Ejection.MaxPercent = 101 }, "ejection.max_percent"},
		{"a negative rate", sound, func(c *Config) { c.Rebalance.Rate = -1 }, "rebalance.rate"},
		{"no tolerance", sound, func(c *Config) { c.Rebalance.Tolerance = 0 }, "rebalance.tolerance"},
		{"no interval of rebalance", sound, func(c *Config) { c.Rebalance.Interval = 0 }, "rebalance.interval"},
		{"rebalance of a policy that knows where a client belongs", hash, func(c *Config) {
			c.Rebalance = rebalanceConfig(1).Rebalance
		}, "rebalance.rate"},
	} {
		c := test.base
		c.Backend = append([]BackendConfig(nil), c.Backend...)
		test.change(&c)
		problems := problemsOf(c)
		switch _, isReported := problems[test.key]; {
		case test.key == "" && len(problems) != 0:
			t.Errorf("%s: reported %v; want nothing", test.name, problems)
		case test.key != "" && (!isReported || len(problems) != 1):
			t.Errorf("%s: reported %v; want %s alone", test.name, problems, test.key)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		text                                 string
		network, dial, serverName, authority string
		isTLS, isName                        bool
	}{
		{"10.0.0.1:9000", "tcp", "10.0.0.1:9000", "", "10.0.0.1:9000", false, false},
		{"Chat.Internal:9000", "tcp", "chat.internal:9000", "", "chat.internal:9000", false, true},
		{"[::1]:9000", "tcp", "[::1]:9000", "", "[::1]:9000", false, false},
		{"[::ffff:10.0.0.1]:9000", "tcp", "10.0.0.1:9000", "", "10.0.0.1:9000", false, false},
		{"ws://10.0.0.1:9000/", "tcp", "10.0.0.1:9000", "", "10.0.0.1:9000", false, false},
		{"wss://chat.internal.:443", "tcp", "chat.internal.:443", "chat.internal", "chat.internal", true, true},
		{"unix:/run/chat.sock", "unix", "/run/chat.sock", "", "localhost", false, false},
		{"[::1]:80", "tcp", "[::1]:80", "", "[::1]", false, false},
		{"[fe80::1%lo]:9000", "tcp", "[fe80::1%lo]:9000", "", "[fe80::1]:9000", false, false},
		{"chat_1:9000", "tcp", "chat_1:9000", "", "chat_1:9000", false, true},
		{"10.0.0.1:443", "tcp", "10.0.0.1:443", "", "10.0.0.1:443", false, false},
		{"wss://10.0.0.1:80", "tcp", "10.0.0.1:80", "10.0.0.1", "10.0.0.1:80", true, false},
	} {
		a, err := parseAddress(test.text, false)
		if err != nil || a.network != test.network || a.dial != test.dial || a.serverName != test.serverName ||
			a.tls != test.isTLS || a.isName() != test.isName || a.text != test.text || a.authority != test.authority {
			t.Errorf("parseAddress(%q) = %+v, name %v, %v; want %+v", test.text, a, a.isName(), err, test)
		}
	}
}

func TestAnAddressWhoseHostCantBeInARequestIsRefused(t *testing.T) {
	for _, text := range []string{"a\r\nX:9000", "a\x00:9000", "ä:9000", "user@a:9000", "ws://user@a:9000", "a\"b:9000"} {
		if a, err := parseAddress(text, false); err == nil {
			t.Errorf("parseAddress(%q) = %+v; want an error", text, a)
		}
	}
	if a, err := parseAddress("a\r\nX", true); err == nil {
		t.Errorf("an address without a port: %+v; want an error", a)
	}
}

func TestAnAttemptLeavesTimeOnlyIfTimeoutsAreRetriedAndABackendIsLeft(t *testing.T) {
	retried := []string{RetryConnect, RetryTimeout}
	for _, test := range []struct {
		on                       []string
		backends, retries, tried int
		want                     bool
	}{
		{retried, 1, 2, 0, false}, {retried, 2, 2, 0, true}, {retried, 2, 2, 1, false}, {retried, 3, 0, 0, false},
		{retried, 3, 1, 0, true}, {retried, 3, 1, 1, false}, {retried, 3, 2, 1, true}, {retried, 3, 2, 2, false},
		{[]string{RetryConnect, RetryReset}, 3, 2, 0, false}, {nil, 3, 2, 0, false},
	} {
		c := configOf(PolicyLeastConn, test.backends)
		c.Retries, c.RetryOn = test.retries, test.on
		p := newPool(t, c)
		if got, err := p.Pick(t.Context(), &Request{}, p.backends[:test.tried]); err != nil || got.LeavesTime != test.want {
			t.Errorf("%v, %d backends, %d retries, %d tried: %v, %v; want %v", test.on, test.backends, test.retries, test.tried, got.LeavesTime, err, test.want)
		}
	}
}

func TestMayRetry(t *testing.T) {
	c := configOf(PolicyLeastConn, 3)
	c.Retries, c.RetryStatuses = 2, []int{502, 503}
	usual := []string{RetryConnect, RetryReset}
	for _, test := range []struct {
		on    []string
		o     Outcome
		tried int
		want  bool
	}{
		{usual, DialFailed, 1, true}, {usual, Refused, 2, true}, {usual, Refused, 3, false}, {usual, DialTimeout, 1, true},
		{usual, HandshakeReset, 1, true}, {usual, BadAnswer, 1, false}, {usual, 503, 1, true}, {usual, 503, 3, false},
		{usual, 504, 1, false}, {usual, 404, 1, false}, {usual, ClientFault, 1, false}, {usual, Ended, 1, false},
		{usual, Lost, 1, false}, {usual, Shed, 1, false}, {usual, GatewayFault, 1, true},
		{usual, HandshakeTimeout, 1, false}, // Faults B8.
		{[]string{RetryTimeout}, HandshakeTimeout, 1, true}, {[]string{RetryTimeout}, HandshakeTimeout, 3, false},
		{[]string{RetryTimeout}, Refused, 1, false}, {[]string{RetryTimeout}, HandshakeReset, 1, false}, {nil, Refused, 1, false}, {nil, 502, 1, true},
	} {
		c.RetryOn = test.on
		if got := newPool(t, c).MayRetry(test.o, test.tried); got != test.want {
			t.Errorf("%v: MayRetry(%d, %d) = %v; want %v", test.on, test.o, test.tried, got, test.want)
		}
	}
}
