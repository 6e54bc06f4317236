package migrate

import (
	"regexp"
	"slices"
	"strings"
)

// What keeps clients out in the original keeps them out in the draft: where it can't be carried over exactly, the draft refuses more.

// Everybody are the prefixes of all addresses: a route that denies them refuses every client that has an address.
var Everybody = []string{"0.0.0.0/0", "::/0"}

// noAddress is an address that no client has. A route that allows it alone refuses clients of a Unix socket too, which have no address.
const noAddress = "255.255.255.255"

// Refuses reports whether the gateway answers by itself with a status of 400 or more.
func (a *Answer) Refuses() bool {
	if a.IsDenied {
		return true
	}
	for _, key := range a.Keys {
		answer, isAnswer := key.Value.(Inline)
		if key.Name == "respond" && isAnswer && len(answer) > 0 {
			status, isStatus := answer[0].Value.(int)
			return isStatus && status >= 400
		}
	}
	return false
}

// Closed returns the answer as one that refuses every client, in place of an authentication that can't be carried over. by names it.
func (a *Answer) Closed(from Place, by string) *Answer {
	return a.With(Key{Name: "deny", Value: Everybody, From: from, Note: "instead of " + by + ": delete this line when the backend authenticates the clients"})
}

// IsClosed reports whether the answer is one that Closed has made.
func (a *Answer) IsClosed() bool {
	return slices.ContainsFunc(a.Keys, isDenyOfAll)
}

func isDenyOfAll(k Key) bool {
	clients, isList := k.Value.([]string)
	return k.Name == "deny" && isList && slices.Equal(clients, Everybody)
}

// Close makes the requests refused for which one of the clauses holds: those that need an authentication. Where a clause is not one that a
// route can have, more is refused. Clients that a clause excludes by their address pass. Redirections stay, and so do answers for which
// isBefore holds. isExact reports that no other requests are refused.
func Close(cases []Case, when []Clause, from Place, by string, isBefore func(*Answer) bool) (all []Case, isExact bool) {
	isExact = true
	for _, clause := range when {
		is := clause.Is
		is.Clients = nil
		isExact = isExact && clause.Is.Clients == nil
		isMany := len(cases) > mostCases // so many are not divided any more
		var closed []Case
		for _, c := range cases {
			match, overlap := c.And(is)
			switch {
			case overlap == Disjoint, c.Then.Refuses(), c.Then.IsOwn() && !c.Then.has("respond"), isBefore(c.Then):
				closed = append(closed, c)
				continue
			case overlap == Uncertain, isMany:
				match, overlap, isExact = c.Match, Uncertain, false
			}
			if !isMany && slices.ContainsFunc(closed, func(earlier Case) bool { return earlier.Covers(match) }) {
				closed = append(closed, c) // an earlier case has these requests
				continue
			}
			parts, isWhole := closeExcept(c, match, clause.Not, from, by)
			closed = append(closed, parts...)
			if !isWhole || !is.Covers(c.Match) && overlap == Both {
				closed = append(closed, c)
			}
		}
		cases = closed
	}
	return cases, isExact
}

// closeExcept returns the cases of a match that is closed, but for what is excluded. isWhole reports that no request of it is left.
func closeExcept(c Case, match Match, except []Match, from Place, by string) (parts []Case, isWhole bool) {
	var clients []string
	for _, not := range except {
		if not.Clients != nil && (Match{Clients: not.Clients}).equal(not) {
			clients = append(clients, not.Clients...)
			continue
		}
		if not.Covers(match) {
			return nil, false
		}
		if excluded, overlap := match.And(not); overlap == Both && not.Clients == nil {
			part := c
			part.Match = excluded
			parts = append(parts, part)
		}
	}
	part := c
	part.Match = match
	if clients != nil && c.Clients == nil {
		inside := part
		inside.Clients = clients
		inside.Match = inside.At("allow", from)
		denied := Respond(from, 403, "")
		denied.Keys[0].Note = "instead of " + by
		part.Then = denied
		return append(parts, inside, part), true
	}
	part.Then = c.Then.Closed(from, by)
	return append(parts, part), true
}

// has reports whether the answer has a key.
func (a *Answer) has(name string) bool {
	return slices.ContainsFunc(a.Keys, func(k Key) bool { return k.Name == name })
}

// keepsOut reports whether the case refuses some clients or all.
func (c *Case) keepsOut() bool {
	return c.Then.Refuses() && !c.Then.IsNone || c.Clients != nil || c.Deny != nil || c.Then.has("deny") || c.Then.has("allow")
}

// asOriginal returns the cases with those that keep clients out as wide as the original has them: a prefix of characters, or a path without
// regard to case, is a regular expression.
func asOriginal(cases []Case) []Case {
	var all []Case
	for _, c := range cases {
		wide := c
		wide.Path, wide.PathExact, wide.PathRegexp = "", "", c.Original
		switch {
		case c.Original == "" || !c.keepsOut():
			all = append(all, c)
		case c.Then.has("strip_prefix") || c.Then.has("rewrite_path"): // of the path that the route has
			wide.Clients, wide.Deny = nil, nil
			wide.Then = Respond(c.Then.From, 403, "")
			wide.Then.Keys[0].Note = "these paths are of the same rule in the original, which compares characters"
			all = append(all, c, wide)
		default:
			all = append(all, wide)
		}
	}
	return all
}

// Widen returns a regular expression of RE2 that finds all that one of PCRE does, which has what RE2 lacks: assertions are left out, a
// reference to a group is any text. isWider is false for an expression that RE2 has as it is. The error is that of the result.
func Widen(expression string) (wide string, isWider bool, err error) {
	if _, err := regexp.Compile(expression); err == nil {
		return expression, false, nil
	}
	var out strings.Builder
	inClass := false
	for i := 0; i < len(expression); i++ {
		rest := expression[i:]
		switch c := expression[i]; {
		case c == '\\' && len(rest) > 1:
			i++
			switch next := rest[1]; {
			case inClass || !strings.ContainsRune("123456789kgGKZRXh", rune(next)):
				out.WriteString(rest[:2])
			case next == 'h':
				out.WriteString(`[ \t]`)
			case next == 'Z':
				out.WriteString(`\z`)
			case next == 'R' || next == 'X' || '1' <= next && next <= '9':
				out.WriteString(`(?s:.*)`)
			case next != 'G' && next != 'K':
				return "", true, regexpError(expression)
			}
		case inClass:
			inClass = c != ']'
			out.WriteByte(c)
		case c == '[':
			inClass = true
			out.WriteByte(c)
			if strings.HasPrefix(rest, "[]") || strings.HasPrefix(rest, "[^]") {
				end := strings.IndexByte(rest, ']')
				out.WriteString(rest[1 : end+1])
				i += end
			}
		case strings.HasPrefix(rest, "(?>"):
			out.WriteString("(?:")
			i += 2
		case strings.HasPrefix(rest, "(?=") || strings.HasPrefix(rest, "(?!") || strings.HasPrefix(rest, "(?<=") || strings.HasPrefix(rest, "(?<!"):
			length := groupLength(rest)
			if length == 0 {
				return "", true, regexpError(expression)
			}
			i += length - 1
		case c == '+' && i > 0 && strings.ContainsRune("+*?}", rune(expression[i-1])) && !strings.HasSuffix(expression[:i-1], `\`): // possessive
		default:
			out.WriteByte(c)
		}
	}
	wide = out.String()
	if _, err := regexp.Compile(wide); err != nil {
		return "", true, regexpError(expression)
	}
	return wide, true, nil
}

// groupLength returns the length of the group that a text begins with; 0 if nothing closes it.
func groupLength(text string) int {
	depth, inClass := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case inClass:
			inClass = c != ']'
		case c == '[':
			inClass = true
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

type regexpError string

func (e regexpError) Error() string {
	return "the regular expression " + string(e) + " is not one of RE2, which has no lookahead and no references to groups"
}
