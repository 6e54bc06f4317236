package migrate

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// A Clause is one alternative of a condition: everything in Is holds, and nothing in Not.
type Clause struct {
	Is  Match
	Not []Match
}

// An Answer is what happens to requests: the keys of a route that don't concern its match. It may belong to several cases.
type Answer struct {
	From     Place
	Keys     []Key
	Skipped  []Skipped // at the routes that have this answer
	IsDenied bool      // it is 403
	IsNone   bool      // there is none, as for a request without a route
	Via      string    // what a reader of files knows the answer by until it is complete
}

// IsOwn reports whether the gateway answers by itself.
func (a *Answer) IsOwn() bool {
	return slices.ContainsFunc(a.Keys, func(k Key) bool { return k.Name == "respond" || k.Name == "redirect" })
}

// With returns a copy of the answer with one more key; one that it has already gets the value.
func (a *Answer) With(key Key) *Answer {
	changed := *a
	section := Section{Keys: slices.Clone(a.Keys)}
	section.SetNote(key.Name, key.Value, key.From, key.Note)
	changed.Keys = section.Keys
	return &changed
}

// Append returns the answer with one more value in a list.
func (a *Answer) Append(key, value string, from Place) *Answer {
	var list []string
	for _, has := range a.Keys {
		if has.Name == key {
			list, _ = has.Value.([]string)
		}
	}
	if slices.Contains(list, value) {
		return a
	}
	return a.With(Key{Name: key, Value: append(slices.Clone(list), value), From: from})
}

// Respond returns an answer that the gateway gives by itself.
func Respond(from Place, status int, body string) *Answer {
	value := Inline{{Name: "status", Value: status, From: from}}
	if body != "" {
		value = append(value, Key{Name: "body", Value: body, From: from})
	}
	return &Answer{From: from, Keys: []Key{{Name: "respond", Value: value, From: from}}, IsDenied: status == 403}
}

// Redirect returns an answer that sends the client elsewhere.
func Redirect(from Place, to string, status int) *Answer {
	return &Answer{From: from, Keys: []Key{
		{Name: "redirect", Value: to, From: from},
		{Name: "redirect_status", Value: status, From: from},
	}}
}

// A Rule says what happens to requests for which one of its clauses holds. Of a list of rules the first decides that holds.
type Rule struct {
	When []Clause
	Then *Answer
}

// A Case is a Rule that one route can express.
type Case struct {
	Match
	Deny []string // addresses and prefixes of clients that get 403
	Then *Answer
}

// ErrManyRoutes is the error of rules that need more routes than an operator would want to read.
var ErrManyRoutes = errors.New("needs more than 1000 routes")

const mostCases = 1000

// Cases turns rules into cases, of which again the first decides that matches. What a clause excludes becomes a case of its own before it:
// "not A: x; else: y" is "A: y; else: x". So the last rule has to hold for all requests. dropped is called with each rule of which a part
// can't be one route's; isWider reports that the rule is one that refuses, and refuses more instead.
func Cases(within Match, rules []Rule, dropped func(rule Rule, isWider bool)) ([]Case, error) {
	var cases []Case
	steps := 0
	var add func(within Match, rules []Rule) error
	add = func(within Match, rules []Rule) error {
		for i, rule := range rules {
			for j, clause := range rule.When {
				if steps++; steps > 20*mostCases || len(cases) > mostCases {
					return ErrManyRoutes
				}
				match, overlap := within.And(clause.Is)
				if overlap == Uncertain && rule.Then.Refuses() { // on all paths then
					anywhere := within
					anywhere.setPath(Match{})
					if match, overlap = anywhere.And(clause.Is); overlap == Both {
						dropped(rule, true)
					}
				}
				switch overlap {
				case Disjoint:
					continue
				case Uncertain:
					dropped(rule, false)
					continue
				}
				isNever := false
				for _, not := range clause.Not {
					excluded, overlap := match.And(not)
					if overlap == Uncertain { // what is excluded goes on at the next clause, whether the rest of this one holds or not
						excluded, overlap = within.And(not)
					}
					switch {
					case overlap == Disjoint:
						continue
					case overlap == Uncertain && rule.Then.Refuses():
						dropped(rule, true)
					case overlap == Uncertain:
						dropped(rule, false)
						isNever = true
					case not.Covers(match):
						isNever = true
					default:
						rest := append([]Rule{{rule.When[j+1:], rule.Then}}, rules[i+1:]...)
						if err := add(excluded, rest); err != nil {
							return err
						}
					}
					if isNever {
						break
					}
				}
				if isNever {
					continue
				}
				if !slices.ContainsFunc(cases, func(c Case) bool { return c.Covers(match) }) {
					cases = append(cases, Case{Match: match, Then: rule.Then})
				}
				if match.Covers(within) {
					return nil
				}
			}
		}
		return nil
	}
	err := add(within, rules)
	return cases, err
}

// Guard makes allow and deny of the conditions on clients. What the original refuses to clients is 403 here. dropped is called with the cases
// that can't be expressed so; they are left out, and none of them refuses anything. widened is called with those that refuse more: their
// clients are refused by a whole route, of which only a part is theirs.
func Guard(cases []Case, dropped, widened func(Case)) []Case {
	var guarded []Case
	for i, c := range cases {
		of := c.Match
		of.Clients = nil
		if slices.ContainsFunc(guarded, func(earlier Case) bool { return withoutClients(earlier.Match).Covers(of) }) && len(c.Clients) == 0 {
			continue // an earlier route answers its requests, those of refused clients too
		}
		switch {
		case len(c.Clients) == 0:
			guarded = append(guarded, c)
		case c.Then.Refuses() && refusedToOthers(cases[i+1:], c) != nil:
			c.Match = of // so it is refused to all
			guarded = append(guarded, c)
		case c.Then.Refuses():
			if !denyLater(cases[i+1:], of, c) {
				widened(c)
			}
		default:
			refused := refusedToOthers(cases[i+1:], c)
			if refused == nil {
				dropped(c)
				continue
			}
			if !refused.Refuses() && !refused.IsNone {
				widened(c)
			}
			c.Match = c.At("allow", refused.From)
			guarded = append(guarded, c)
		}
	}
	return guarded
}

func withoutClients(m Match) Match {
	m.Clients = nil
	return m
}

// denyLater adds the clients of a case to those that the cases refuse within a match. It reports whether it was exact: a case of which only a
// part is within the match refuses them as a whole.
func denyLater(cases []Case, within Match, denied Case) (isExact bool) {
	isExact = true
	for i, c := range cases {
		of := withoutClients(c.Match)
		if _, overlap := within.And(of); overlap == Disjoint || c.Then.Refuses() {
			continue
		}
		isExact = isExact && within.Covers(of)
		cases[i].Deny = append(slices.Clone(c.Deny), denied.Clients...)
		cases[i].Match = c.At("deny", denied.Then.From)
	}
	return isExact
}

// refusedToOthers returns the answer that refuses the requests of c to clients that c is not for; nil if they get another one. Where c has a
// path, a redirection counts as well: these clients get 403 instead.
func refusedToOthers(cases []Case, c Case) *Answer {
	of := withoutClients(c.Match)
	for _, later := range cases {
		if slices.Equal(later.Clients, c.Clients) {
			continue
		}
		isRedirect := !of.isAnyPath() && later.Then.has("redirect")
		switch _, overlap := of.And(withoutClients(later.Match)); {
		case overlap == Disjoint:
		case !later.Then.Refuses() && !later.Then.IsNone && !isRedirect:
			return nil
		case later.Covers(of):
			return later.Then
		}
	}
	return nil
}

// Modify changes the answers of the requests for which the clause holds. A case of which that is a part becomes two. It reports whether it
// could do so for all requests. change returns nil where it can't, and the answer as it is where there is nothing to change.
func Modify(cases []Case, when Clause, change func(Case) *Answer) (changed []Case, isWhole bool) {
	isWhole = true
	for _, c := range cases {
		match, overlap := c.And(when.Is)
		if when.Is.Clients != nil && overlap == Both {
			overlap = Uncertain // clients are not matched
		}
		for _, not := range when.Not {
			switch _, o := match.And(not); {
			case overlap == Disjoint || o == Disjoint:
			case not.Covers(match):
				overlap = Disjoint
			default:
				overlap = Uncertain
			}
		}
		isTaken := slices.ContainsFunc(changed, func(earlier Case) bool { return earlier.Covers(match) })
		if len(changed) > mostCases { // so many are not divided any more
			overlap = Uncertain
		}
		if overlap == Both && !isTaken {
			part := c
			part.Match = match
			switch part.Then = change(part); part.Then {
			case nil:
				isWhole = false
				fallthrough
			case c.Then:
				changed = append(changed, c)
				continue
			}
			changed = append(changed, part)
			if when.Is.Covers(c.Match) {
				continue
			}
		}
		if overlap == Uncertain {
			isWhole = false
		}
		changed = append(changed, c)
	}
	return changed, isWhole
}

// AddRoutes writes the cases as routes, with priorities where they need some. A case of all of the listeners, or of none, has one route for
// all; another one has a route for each of its listeners.
func (d *Draft) AddRoutes(cases []Case, listeners []string) {
	cases = asOriginal(cases)
	matches := make([]Match, len(cases))
	for i, c := range cases {
		matches[i] = c.Match
		if !slices.ContainsFunc(listeners, func(name string) bool { return !slices.Contains(c.Listeners, name) }) {
			matches[i].Listeners = nil
		}
	}
	priorities := Priorities(matches)
	for i, c := range cases {
		for _, listener := range orOne(matches[i].Listeners) {
			route := &Section{From: c.Then.From}
			match := matches[i]
			if listener != "" {
				match.Listeners = []string{listener}
			}
			match.Write(route, c.Then.From)
			if priorities[i] > 0 {
				route.SetNote("priority", priorities[i], c.Then.From, "it comes before the routes after it that fit as well")
			}
			if len(c.Deny) > 0 {
				route.Set("deny", c.Deny, c.placeOf("deny", c.Then.From))
			}
			for _, key := range c.Then.Keys {
				route.SetNote(key.Name, key.Value, key.From, key.Note)
				route.find(key.Name).Also = key.Also
			}
			if allowed, isList := route.Get("allow").([]string); isList && slices.ContainsFunc(route.Keys, isDenyOfAll) {
				route.Keys = slices.DeleteFunc(route.Keys, func(k Key) bool { return k.Name == "allow" })
				route.find("deny").Note += ", and set allow to " + strings.Join(allowed, ", ")
			}
			if d.hasUnixSocket(listener) && slices.ContainsFunc(route.Keys, isDenyOfAll) {
				key := route.find("deny")
				key.Name, key.Value = "allow", []string{noAddress}
				key.Note += ". Clients of a Unix socket have no address, which deny could have"
			}
			for _, s := range c.Then.Skipped {
				d.Skip(route, s.From, s.Text, s.Why)
			}
			d.Routes = append(d.Routes, route)
		}
	}
}

// hasUnixSocket reports whether a listener, or any of them if it has no name, is at a Unix socket.
func (d *Draft) hasUnixSocket(listener string) bool {
	return slices.ContainsFunc(d.Listeners, func(l *Section) bool {
		address, _ := l.Get("address").(string)
		return strings.HasPrefix(address, "unix:") && (listener == "" || l.Get("name") == listener)
	})
}

func orOne(listeners []string) []string {
	if listeners == nil {
		return []string{""}
	}
	return listeners
}

// Trim leaves out the cases that have no answer, but for those that keep requests from a later one.
func Trim(cases []Case) []Case {
	var kept []Case
	for i, c := range cases {
		isNeeded := !c.Then.IsNone || slices.ContainsFunc(cases[i+1:], func(later Case) bool {
			_, overlap := c.And(later.Match)
			return overlap != Disjoint && !later.Then.IsNone
		})
		if isNeeded {
			kept = append(kept, c)
		}
	}
	return kept
}

// Priorities returns the priority that each of some routes needs so that of those that match a request the first one is used. It is 0 for
// all of them where the order that routes have by themselves is this one.
func Priorities(matches []Match) []int {
	priorities := make([]int, len(matches))
	matches = slices.Clone(matches)
	for i := range matches {
		matches[i].Places = nil // And would copy them
	}
	for i := len(matches) - 2; i >= 0; i-- {
		for j := i + 1; j < len(matches); j++ {
			if _, overlap := matches[i].And(matches[j]); overlap == Disjoint {
				continue
			}
			needed := priorities[j]
			if compareRank(matches[i], matches[j]) > 0 {
				needed++
			}
			priorities[i] = max(priorities[i], needed)
		}
	}
	return priorities
}

// compareRank compares two matches in the order in which routes are tried: that of proxy/route without priorities. A route with several
// hosts is one for each of them, so the ranks of hosts decide only where all of them are on the same side.
func compareRank(a, b Match) int {
	highA, lowA := hostRanks(a.Hosts)
	highB, lowB := hostRanks(b.Hosts)
	switch {
	case lowA > highB:
		return -1
	case lowB > highA, highA != highB || lowA != lowB:
		return 1
	}
	return cmp.Or(
		cmp.Compare(pathRank(b), pathRank(a)),
		cmp.Compare(len(b.Listeners), len(a.Listeners)),
		cmp.Compare(min(len(b.Methods), 1), min(len(a.Methods), 1)),
		cmp.Compare(len(b.Header), len(a.Header)),
		cmp.Compare(len(b.Query), len(a.Query)),
	)
}

// hostRanks returns the highest and the lowest rank of hosts: an exact one, the longest leading wildcard, the longest trailing one, any.
func hostRanks(hosts []string) (high, low int) {
	if len(hosts) == 0 {
		return 0, 0
	}
	low = 1 << 30
	for _, host := range hosts {
		rank := 1 << 20
		switch {
		case strings.HasPrefix(host, "*"):
			rank = 1<<10 + len(host)
		case strings.HasSuffix(host, "*"):
			rank = len(host)
		}
		high, low = max(high, rank), min(low, rank)
	}
	return high, low
}

// pathRank orders paths: a whole path, the longest prefix, a regular expression.
func pathRank(m Match) int {
	switch {
	case m.PathExact != "":
		return 1 << 20
	case m.PathRegexp != "":
		return -1
	}
	return len(strings.TrimRight(m.Path, "/"))
}
