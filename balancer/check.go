package balancer

import (
	"fmt"
	"strconv"
	"strings"

	"sluice/internal/files"
	"sluice/internal/units"
)

// Check reports every problem of the section.
func (c *Config) Check(report units.Report) {
	if c.Name == "" {
		report("name", "missing", nil, "a name")
	}
	switch c.Policy {
	case PolicyRoundRobin, PolicyLeastConn, PolicyRandomTwo, PolicyRandom, PolicyIPHash:
	case PolicyHash:
		c.Hash.checkKey(report)
	case PolicySticky:
		c.Sticky.check(report)
	default:
		report("policy", "unknown", c.Policy,
			"round_robin, least_conn, random_two, random, ip_hash, hash or sticky")
	}
	if c.Policy != PolicyHash && c.Hash.keyCount() > 0 {
		report("hash", "without use", c.Policy, `policy = "hash", or no key`)
	}
	if c.Policy != PolicyHash && c.Policy != PolicyIPHash && c.Hash.BoundedLoad != 0 {
		report("hash.bounded_load", "without use", c.Hash.BoundedLoad, `policy = "hash" or "ip_hash", or 0`)
	}
	if c.Hash.BoundedLoad != 0 && !(c.Hash.BoundedLoad >= 1 && c.Hash.BoundedLoad <= 100) {
		report("hash.bounded_load", "out of range", c.Hash.BoundedLoad, "0, or from 1 to 100, such as 1.25")
	}
	c.checkBackends(report)
	c.checkProtocol(report)
	c.checkRetries(report)
	c.checkQueue(report)
	c.Discovery.Check(report.In("discovery"))
	c.Health.Check(report.In("health"))
	c.Ejection.check(report)
	c.checkRebalance(report)
}

func (c *Config) checkBackends(report units.Report) {
	if len(c.Backend) == 0 {
		report("backend", "missing", nil, "at least one backend")
	}
	first := make(map[string]int)
	for i := range c.Backend {
		b := &c.Backend[i]
		at := units.Indexed("backend", i)
		a, err := c.address(b)
		switch earlier, isTwice := first[a.network+a.dial]; {
		case err != nil:
			report(at+".address", err.Error(), b.Address,
				"host:port, ws://host:port, wss://host:port or unix:/path")
		case isTwice:
			report(at+".address", "the same address as "+units.Indexed("backend", earlier), b.Address, "each address once")
		default:
			first[a.network+a.dial] = i
		}
		if b.Weight < 1 || b.Weight > MaxWeight {
			report(at+".weight", "out of range", b.Weight, "from 1 to "+strconv.Itoa(MaxWeight))
		}
		if b.MaxSessions < 0 {
			report(at+".max_sessions", "negative", b.MaxSessions, "0 (no limit) or more")
		}
	}
}

// Far above what is of use: a connection costs its backend a descriptor, and a stream costs it memory.
const (
	maxConnections = 1024
	maxStreams     = 1 << 16
)

func (c *Config) checkProtocol(report units.Report) {
	switch c.Protocol {
	case ProtocolHTTP2:
	case ProtocolHTTP1, "":
		return
	default:
		report("protocol", "unknown", c.Protocol, `"http/1.1" or "h2"`)
		return
	}
	if c.SendProxy {
		report("send_proxy", "a connection of h2 is not of one client", c.SendProxy, `false, or protocol = "http/1.1"`)
	}
	if c.Connections < 1 || c.Connections > maxConnections {
		report("connections", "out of range", c.Connections, "from 1 to "+strconv.Itoa(maxConnections))
	}
	if c.Streams < 1 || c.Streams > maxStreams {
		report("streams", "out of range", c.Streams, "from 1 to "+strconv.Itoa(maxStreams))
	}
}

func (c *Config) checkRetries(report units.Report) {
	if c.Retries < 0 {
		report("retries", "negative", c.Retries, "0 (none) or more")
	}
	for i, failure := range c.RetryOn {
		switch failure {
		case RetryConnect, RetryReset, RetryTimeout:
		default:
			report(units.Indexed("retry_on", i), "unknown", failure, "connect, reset or timeout")
		}
	}
	checkStatuses(report, "retry_statuses", c.RetryStatuses, 500, 599)
}

func (c *Config) checkQueue(report units.Report) {
	if c.QueueTimeout > 0 && c.Queue < 1 {
		report("queue", "no room", c.Queue, "1 or more with a queue_timeout")
	}
	if c.RetryAfter < 0 {
		report("retry_after", "negative", c.RetryAfter, "0s or more")
	}
}

func checkStatuses(report units.Report, key string, statuses []int, low, high int) {
	for i, status := range statuses {
		if status < low || status > high {
			report(units.Indexed(key, i), "out of range", status, fmt.Sprintf("a status from %d to %d", low, high))
		}
	}
}

func (c *HashConfig) checkKey(report units.Report) {
	switch keys := c.keyCount(); {
	case keys == 0:
		report("hash", "no key", nil, "one of header, cookie, query and path")
	case keys > 1:
		report("hash", "several keys", keys, "one of header, cookie, query and path")
	}
	if strings.ContainsFunc(c.Header, isNoFieldName) {
		report("hash.header", "not a field's name", c.Header, "such as \"X-Room\"")
	}
	if strings.ContainsAny(c.Cookie, "=;") || strings.ContainsFunc(c.Cookie, units.IsSpaceOrControl) {
		report("hash.cookie", "not a cookie's name", c.Cookie, "no \"=\", no \";\", no spaces and control characters")
	}
}

// keyCount returns how many keys are configured. The policy hash wants exactly one.
func (c *HashConfig) keyCount() (keys int) {
	for _, isSet := range []bool{c.Header != "", c.Cookie != "", c.Query != "", c.Path} {
		if isSet {
			keys++
		}
	}
	return keys
}

func (c *StickyConfig) check(report units.Report) {
	if !isToken(c.Cookie) {
		report("sticky.cookie", "not a cookie's name", c.Cookie, "letters, digits, \"-\" and \"_\"")
	}
	switch {
	case c.Secret == "" && c.SecretFile == "":
		report("sticky.secret", "missing", nil, "secret or secret_file: at least 16 bytes, the same in every gateway process")
	case c.Secret != "" && c.SecretFile != "":
		report("sticky.secret_file", "beside secret", c.SecretFile, "one of the two")
	default:
		if _, err := c.secret(); err != nil {
			// The text of the error is reported in place of the secret, which must not be shown.
			key := "sticky.secret"
			if c.SecretFile != "" {
				key = "sticky.secret_file"
			}
			report(key, err.Error(), c.SecretFile, "at least 16 bytes")
		}
	}
	if strings.ContainsAny(c.Path, ";") || strings.ContainsFunc(c.Path, units.IsSpaceOrControl) || c.Path != "" && c.Path[0] != '/' {
		report("sticky.path", "not a path", c.Path, "a path that starts with \"/\"")
	}
	if strings.ContainsAny(c.Domain, ";,") || strings.ContainsFunc(c.Domain, units.IsSpaceOrControl) {
		report("sticky.domain", "not a domain", c.Domain, "such as \"example.com\"")
	}
	switch c.SameSite {
	case "", "lax", "strict":
	case "none":
		if !c.Secure {
			// Browsers drop a cookie with SameSite=None and without Secure.
			report("sticky.same_site", "needs secure", c.SameSite, "secure = true beside it")
		}
	default:
		report("sticky.same_site", "unknown", c.SameSite, "lax, strict, none or \"\"")
	}
}

// Warn reports what the section may have and its operator may not want.
func (c *Config) Warn(report units.Report) {
	if c.Policy != PolicySticky || c.Sticky.SecretFile == "" {
		return
	}
	if problem := files.Exposure(c.Sticky.SecretFile); problem != "" {
		report("sticky.secret_file", problem, c.Sticky.SecretFile, "0640 or less")
	}
}

// isToken reports whether s is safe as a cookie's name: it allows a subset of RFC 9110's token.
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != ""
}

// isNoFieldName reports whether c is not part of a field's name. RFC 9110 section 5.6.2: "any VCHAR, except delimiters".
func isNoFieldName(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
}

// isOff reports whether no backend is ejected.
func (c *EjectionConfig) isOff() bool { return c.Failures <= 0 && c.Lost <= 0 }

func (c *EjectionConfig) check(report units.Report) {
	if c.Failures < 0 {
		report("ejection.failures", "negative", c.Failures, "0 (off) or more")
	}
	if c.Lost < 0 {
		report("ejection.lost", "negative", c.Lost, "0 (off) or more")
	}
	if c.isOff() {
		return
	}
	checkStatuses(report, "ejection.statuses", c.Statuses, 500, 599)
	report.CheckPositive("ejection.window", c.Window)
	report.CheckPositive("ejection.base_time", c.BaseTime)
	if c.MaxTime < c.BaseTime {
		report("ejection.max_time", "under ejection.base_time", c.MaxTime, "at least "+c.BaseTime.String())
	}
	if c.MaxPercent < 1 || c.MaxPercent > 100 {
		report("ejection.max_percent", "out of range", c.MaxPercent, "from 1 to 100")
	}
}

func (c *Config) checkRebalance(report units.Report) {
	r := &c.Rebalance
	if r.Rate < 0 {
		report("rebalance.rate", "negative", r.Rate, "0 (off) or more sessions a second")
	}
	if r.Rate <= 0 {
		return
	}
	if r.Tolerance < 1 || r.Tolerance > 100 {
		report("rebalance.tolerance", "out of range", r.Tolerance, "from 1 to 100 percent")
	}
	report.CheckPositive("rebalance.interval", r.Interval)
	switch c.Policy {
	case PolicyIPHash, PolicyHash, PolicySticky:
		report("rebalance.rate", "not with the policy "+c.Policy, r.Rate,
			"0: a closed session of this policy comes back to the same backend")
	}
}
