package nginx

import (
	"strconv"
	"strings"
)

// writeLimits writes the limits for one client, which are of a whole listener: those of a server that has it alone.
func (l *listener) writeLimits(r *reader) {
	for _, s := range l.servers {
		for _, d := range s.level.all("limit_conn") {
			zone := r.zones["limit_conn_zone "+d.arg(0)]
			n, err := strconv.Atoi(d.arg(1))
			if len(l.servers) > 1 || err != nil || zone == nil || !isClient(zone.arg(0)) {
				r.skip(d, whyLimit)
				continue
			}
			zone.isRead = true
			l.section.SetNote("max_sessions_per_ip", n, d.place, "of sessions; requests under way have a limit of their own, max_handshakes")
		}
		for _, d := range s.level.all("limit_req") {
			l.writeRate(r, d)
		}
	}
}

const whyLimit = "limits of one client are of a whole listener and by its address: max_sessions_per_ip, handshake_rate, handshake_burst"

// writeRate writes a limit_req.
func (l *listener) writeRate(r *reader, d *directive) {
	zone, burst := "", 0
	for _, arg := range d.args {
		if name, isZone := strings.CutPrefix(arg, "zone="); isZone {
			zone = name
		}
		if n, isBurst := strings.CutPrefix(arg, "burst="); isBurst {
			burst, _ = strconv.Atoi(n)
		}
	}
	of := r.zones["limit_req_zone "+zone]
	if len(l.servers) > 1 || of == nil || !isClient(of.arg(0)) {
		r.skip(d, whyLimit)
		return
	}
	of.isRead = true
	for _, arg := range of.args {
		text, isRate := strings.CutPrefix(arg, "rate=")
		if !isRate {
			continue
		}
		rate, err := strconv.Atoi(strings.TrimSuffix(text, "r/s"))
		if err != nil || rate < 1 {
			r.skip(d, "handshake_rate is of seconds: less than one a second can't be said")
			return
		}
		l.section.Set("handshake_rate", rate, of.place)
		if burst > 0 {
			l.section.Set("handshake_burst", burst+1, d.place)
		}
	}
}

// isClient reports whether a key is the client's address.
func isClient(key string) bool { return key == "$binary_remote_addr" || key == "$remote_addr" }
