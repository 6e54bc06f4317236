//go:build unix

package test

import (
	"fmt"
	"strings"
)

// poolKeys writes the keys and tables of a pool after its name.
func (s *chaosSite) poolKeys(w *configWriter) {
	policy := one(w.dice, "round_robin", "least_conn", "random", "random_two", "ip_hash", "hash", "sticky")
	fmt.Fprintf(w, "policy = %q\n", policy)
	dns := one(w.dice, "", "", "", "", "", "", "a", "srv")
	s.members(w, dns)
	w.key("retries = %d", one(w.dice, 0, 1, 5))
	list(w, "retry_on", 3, "connect", "reset", "timeout")
	list(w, "retry_statuses", 2, 500, 502, 503, 599)
	w.flag("send_proxy", 4)
	if w.oneIn(3) {
		fmt.Fprintf(w, "queue_timeout = %q\nqueue = %d\n", w.time("50ms", "500ms", "2s"), one(w.dice, 1, 3, 1024))
	}
	w.key(`retry_after = "%s"`, w.time("0s", "1500ms", "5s"))
	w.key(`slow_start = "%s"`, w.time("0s", "300ms", "10s"))
	w.key("panic = %v", one(w.dice, true, false))
	switch policy {
	case "hash":
		fmt.Fprintf(w, "[pool.hash]\n%s\n", one(w.dice, `header = "X-Room"`, `cookie = "room"`, `query = "room"`, "path = true", `header = "Host"`))
		w.key("bounded_load = %v", one(w.dice, 0.0, 1.0, 1.25, 100.0))
	case "sticky":
		fmt.Fprintf(w, "[pool.sticky]\nsecret = \"0123456789abcdef%s\"\n", w.letters(w.between(0, 20)))
		w.key(`cookie = "%s"`, one(w.dice, "sluice", "room"))
		w.key(`ttl = "%s"`, w.time("0s", "1s", "1h"))
		w.key(`domain = "%s"`, one(w.dice, "", "gateway.test"))
		w.key(`same_site = "%s"`, one(w.dice, "", "lax", "strict"))
		w.flag("secure", 3)
	}
	if dns != "" {
		fmt.Fprintf(w, "[pool.discovery]\ndns = %q\nserver = %q\n", dns, s.nameserver)
		w.key(`interval = "%s"`, w.time("50ms", "1s", "30s"))
		w.key(`timeout = "%s"`, w.time("5ms", "1s"))
	}
	w.WriteString("[pool.tls]\n")
	if !w.flag("insecure", 4) && !w.oneIn(8) {
		fmt.Fprintf(w, "ca = %q\n", s.authority)
	}
	if w.oneIn(6) {
		fmt.Fprintf(w, "server_name = %q\n", one(w.dice, "localhost", "other.test"))
	}
	if w.oneIn(4) {
		fmt.Fprintf(w, "cert = %q\nkey = %q\n", s.certificate[1].cert, s.certificate[1].key)
	}
	s.watchingKeys(w, policy)
}

// members writes the backends of a pool. Some behave, some do not, and some do not exist.
func (s *chaosSite) members(w *configWriter, dns string) {
	addresses := append(some(w.dice, 4, s.backends...), one(w.dice, append(s.backends, s.steady, s.steady, s.steady)...))
	if w.oneIn(6) {
		addresses = append(addresses, one(w.dice, "127.0.0.1:1", "wss://127.0.0.1:1", "nowhere.invalid:80"))
	}
	switch dns {
	case "a":
		addresses = []string{one(w.dice, "echo.test:"+s.named, "ws://echo.test:"+s.named, s.steady)}
	case "srv":
		addresses = []string{"_ws._tcp.echo.test"}
	}
	var members []string
	isTaken := map[string]bool{}
	for _, a := range addresses {
		if place := strings.TrimPrefix(strings.TrimPrefix(a, "wss://"), "ws://"); !isTaken[place] {
			isTaken[place] = true
			m := fmt.Sprintf("{ address = %q", a)
			if w.oneIn(3) {
				m += fmt.Sprintf(", weight = %d", one(w.dice, 1, 7, 65535))
			}
			if w.oneIn(5) {
				m += ", backup = true"
			}
			if w.oneIn(3) {
				m += fmt.Sprintf(", max_sessions = %d", one(w.dice, 0, 1, 5))
			}
			members = append(members, m+" }")
		}
	}
	fmt.Fprintf(w, "backend = [%s]\n", strings.Join(members, ", "))
}

// watchingKeys writes the tables about probes, ejection and rebalancing.
func (s *chaosSite) watchingKeys(w *configWriter, policy string) {
	if w.oneIn(3) {
		kind := one(w.dice, "tcp", "http", "websocket")
		fmt.Fprintf(w, "[pool.health]\nkind = %q\ninterval = %q\ntimeout = %q\n", kind, w.time("100ms", "1s"), w.time("1ms", "100ms"))
		fmt.Fprintf(w, "jitter = %q\n", w.time("0s", "100ms"))
		w.key(`path = "%s"`, one(w.dice, "/", "/health?x=1"))
		w.key(`host = "%s"`, one(w.dice, "", "health.test"))
		w.key("rise = %d", one(w.dice, 1, 3))
		w.key("fall = %d", one(w.dice, 1, 3))
		list(w, "status", 3, 200, 204, 404, 599)
	}
	if w.oneIn(2) {
		fmt.Fprintf(w, "[pool.ejection]\nfailures = %d\nlost = %d\n", one(w.dice, 0, 1, 3), one(w.dice, 0, 1, 3))
		list(w, "statuses", 2, 500, 503, 504)
		w.key(`window = "%s"`, w.time("100ms", "30s"))
		w.WriteString("base_time = \"100ms\"\nmax_time = \"1s\"\n")
		w.key("max_percent = %d", one(w.dice, 1, 50, 100))
	}
	if w.oneIn(3) && policy != "hash" && policy != "ip_hash" && policy != "sticky" {
		fmt.Fprintf(w, "[pool.rebalance]\nrate = %d\ninterval = %q\n", one(w.dice, 1, 100), w.time("100ms", "1s"))
		w.key("tolerance = %d", one(w.dice, 1, 50, 100))
	}
}
