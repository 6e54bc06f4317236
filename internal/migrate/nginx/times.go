package nginx

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sluice/internal/migrate"
)

// writeTimes writes the limits of a route: time-outs, and the body of a request.
func (r *reader) writeTimes(l *level, answer *migrate.Answer, by *directive) {
	if d := l.last("client_max_body_size"); d != nil {
		if n, isSize := size(d.arg(0)); isSize {
			set(answer, "request_body", n, d.place, "")
		} else {
			r.skip(d, "no size")
		}
	} else {
		set(answer, "request_body", "1MiB", by.place, "nginx's default; 64MiB is that of Sluice")
	}
	dial := time.Duration(0)
	for _, key := range []struct{ directive, name, note string }{
		{"proxy_connect_timeout", "connect_timeout", ""},
		{"proxy_read_timeout", "response_timeout", "of plain requests; sessions stay open, pings find dead peers"},
		{"proxy_send_timeout", "write_timeout", ""},
	} {
		d := l.last(key.directive)
		if d == nil {
			continue
		}
		text, isTime := duration(d.arg(0))
		if !isTime || text == "0s" {
			r.skip(d, "no time that "+key.name+" can have")
			continue
		}
		if key.name == "connect_timeout" {
			dial, _ = time.ParseDuration(text)
		}
		set(answer, key.name, text, d.place, key.note)
	}
	if d := l.last("proxy_connect_timeout"); dial > 10*time.Second {
		text, _ := duration(d.arg(0))
		set(answer, "handshake_timeout", text, d.place, "no less than connect_timeout")
	}
}

// setDuration sets a key of a section to the time of a directive.
func (r *reader) setDuration(s *migrate.Section, key string, d *directive) {
	if text, isTime := duration(d.arg(0)); isTime && text != "0s" {
		s.Set(key, text, d.place)
	} else {
		r.skip(d, "no time that "+key+" can have")
	}
}

// longest is the longest duration that a configuration of Sluice has.
const longest = 8760 * time.Hour

var timeParts = regexp.MustCompile(`([0-9]+)(ms|[yMwdhms]?)`)

// duration returns a time of nginx, as "1h 30m" or a number of seconds, as the configuration has it.
func duration(s string) (string, bool) {
	rest := timeParts.ReplaceAllString(s, "")
	if s == "" || strings.TrimSpace(rest) != "" {
		return "", false
	}
	const day = 24 * time.Hour
	units := map[string]time.Duration{
		"": time.Second, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": day, "w": 7 * day, "M": 30 * day, "y": 365 * day,
	}
	var sum time.Duration
	for _, part := range timeParts.FindAllStringSubmatch(s, -1) {
		n, err := strconv.ParseInt(part[1], 10, 64)
		unit := units[part[2]]
		if err != nil || n > int64(longest/unit) {
			return migrate.Duration(longest), true
		}
		sum += time.Duration(n) * unit
	}
	return migrate.Duration(min(sum, longest)), true
}

// size returns a size of nginx, as "10m" or a number of bytes, as the configuration has it. 0 means no limit in both.
func size(s string) (any, bool) {
	digits := strings.TrimRight(s, "kKmMgG")
	n, err := strconv.ParseInt(digits, 10, 64)
	unit := strings.ToLower(s[len(digits):])
	shift := map[string]uint{"": 0, "k": 10, "m": 20, "g": 30}
	by, isUnit := shift[unit]
	if err != nil || n < 0 || !isUnit || n > math.MaxInt64>>by {
		return nil, false
	}
	if n == 0 || unit == "" {
		return int(n), true
	}
	return digits + strings.ToUpper(unit) + "iB", true
}
