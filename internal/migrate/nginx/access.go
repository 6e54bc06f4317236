package nginx

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

const whyAuth = "there is no authentication: the routes refuse every client. Let the backend authenticate the clients, and delete the deny of all"

// writeAccess writes the allow and deny of a level, and refuses every client where something else protects it. It returns the rule because
// of which no client ever gets in, or nil.
func (r *reader) writeAccess(s *server, l *level, answer *migrate.Answer) *directive {
	rules := l.all("allow", "deny")
	allowed, denied := divideClients(rules)
	all := slices.IndexFunc(rules, func(d *directive) bool { return d.arg(0) == "all" })
	isClosed := all >= 0 && rules[all].name == "deny"
	if isClosed && len(allowed) == 0 {
		return rules[all]
	}
	if d := r.closedBy(s, l, answer); d != nil {
		*answer = *answer.Closed(d.place, d.name)
		for _, d := range rules {
			r.skipIn(answer, d, "add allow or deny with it when the deny of all is removed")
		}
		return nil
	}
	if isClosed {
		answer.Keys = append(answer.Keys, keyOf("allow", texts(allowed), rules))
	}
	if len(denied) > 0 {
		answer.Keys = append(answer.Keys, keyOf("deny", texts(denied), rules))
	}
	for _, d := range rules {
		switch {
		case d.arg(0) == "unix:":
			r.skipIn(answer, d, "clients of a Unix socket have no address")
		case !isClosed && len(denied) == 0:
			r.skipIn(answer, d, "not needed: every client may use a route that has no allow")
		}
	}
	return nil
}

// closedBy returns what keeps clients out in nginx and can't be carried over, or nil.
func (r *reader) closedBy(s *server, l *level, answer *migrate.Answer) *directive {
	if d := l.auth(); d != nil {
		r.skipIn(answer, d, whyAuth)
		return d
	}
	if d := r.closedIf(l); d != nil {
		return d
	}
	return s.isUnprotected
}

// auth returns the directive of a level that asks clients who they are, or nil. Modules have more of them than nginx itself.
func (l *level) auth() *directive {
	for _, name := range []string{
		"auth_basic", "auth_request", "auth_jwt", "auth_digest", "auth_ldap", "auth_pam", "auth_gss", "auth_spnego", "auth_oidc",
		"access_by_lua_block", "access_by_lua_file", "access_by_lua", "js_access",
	} {
		if d := l.last(name); d != nil && d.arg(0) != "off" {
			return d
		}
	}
	return nil
}

// closedIf returns the if of a level, or of one around it, that refuses all but some requests and can't be carried over; nil: there is none.
func (r *reader) closedIf(l *level) *directive {
	for ; l != nil; l = l.outer {
		if d := r.closed[l]; d != nil {
			return d
		}
	}
	return nil
}

// isRefusal reports whether a return refuses a request.
func isRefusal(d *directive) bool {
	code, err := strconv.Atoi(d.arg(0))
	return err == nil && code >= 400
}

// refuseIf lists an if that refuses requests by what is no condition of a route. Where it lets only some requests in, as
// if ($ssl_client_verify != SUCCESS), the routes of the level refuse every client; one that keeps only some out is less strict here.
func (r *reader) refuseIf(l *level, d *directive, isNegated bool) {
	text := strings.Trim(strings.Join(d.args, " "), "()")
	_, value, isEqual := strings.Cut(text, " = ")
	isOfSome := isNegated || isEqual && slices.Contains([]string{"", "0", "no", "off", "false", "NONE"}, strings.Trim(value, `"' `))
	switch {
	case strings.Contains(text, "-f ") || strings.Contains(text, "-d ") || strings.Contains(text, "-e "):
		r.skip(d, "Sluice serves no files")
	case isOfSome:
		r.skip(d, whyIf+". Until then the routes refuse every client")
		r.closed[l] = d
	default:
		r.refusal(d, whyIf+". The requests that it refuses pass")
	}
}

// refusal lists a directive that refuses requests in nginx, and that nothing replaces.
func (r *reader) refusal(d *directive, why string) {
	d.isRead = true
	r.draft.SkipRefusal(d.place, d.String(), why)
}

// keyOf returns a key whose value comes from several directives.
func keyOf(name string, value any, from []*directive) migrate.Key {
	key := migrate.Key{Name: name, Value: value}
	for i, d := range from {
		if i == 0 {
			key.From = d.place
		} else {
			key.Also = append(key.Also, d.place)
		}
	}
	return key
}

// divideClients returns the clients that rules allow, and those that they deny. In nginx the first rule decides that has a client, and here
// deny wins: so what an earlier rule allows is not denied. "all" ends the rules.
func divideClients(rules []*directive) (allowed, denied []netip.Prefix) {
	for _, d := range rules {
		if d.arg(0) == "all" {
			break
		}
		prefix, isPrefix := parsePrefix(d.arg(0))
		if !isPrefix {
			continue
		}
		if d.name == "allow" {
			allowed = append(allowed, prefix)
		} else {
			denied = append(denied, without(prefix, allowed)...)
		}
	}
	return allowed, denied
}

// parsePrefix reads an address or a prefix.
func parsePrefix(s string) (netip.Prefix, bool) {
	if strings.Contains(s, "/") {
		prefix, err := netip.ParsePrefix(s)
		return prefix.Masked(), err == nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, addr.BitLen()), true
}

// without returns the addresses of a prefix that are in none of the others, as prefixes.
func without(prefix netip.Prefix, others []netip.Prefix) []netip.Prefix {
	var inside []netip.Prefix
	for _, other := range others {
		if other.Overlaps(prefix) {
			if other.Bits() <= prefix.Bits() {
				return nil
			}
			inside = append(inside, other)
		}
	}
	if inside == nil {
		return []netip.Prefix{prefix}
	}
	low, high := halves(prefix)
	return append(without(low, inside), without(high, inside)...)
}

// halves returns the two halves of a prefix that is longer than an address.
func halves(prefix netip.Prefix) (low, high netip.Prefix) {
	low = netip.PrefixFrom(prefix.Addr(), prefix.Bits()+1)
	octets := prefix.Addr().AsSlice()
	octets[prefix.Bits()/8] |= 0x80 >> (prefix.Bits() % 8)
	addr, _ := netip.AddrFromSlice(octets)
	return low, netip.PrefixFrom(addr, prefix.Bits()+1)
}

// texts returns prefixes as the configuration has them: an address without its length.
func texts(prefixes []netip.Prefix) []string {
	var all []string
	for _, p := range prefixes {
		if p.IsSingleIP() {
			all = append(all, p.Addr().String())
		} else {
			all = append(all, p.String())
		}
	}
	return all
}
