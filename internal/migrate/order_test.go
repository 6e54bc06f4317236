package migrate

import (
	"fmt"
	"reflect"
	"testing"
)

// describe returns the cases as text: each one's match and answer.
func describe(cases []Case) (all []string) {
	for _, c := range cases {
		s := Section{}
		c.Write(&s, Place{})
		text := ""
		for _, k := range s.Keys {
			text += fmt.Sprint(k.Name, "=", k.Value, " ")
		}
		if c.Deny != nil {
			text += fmt.Sprint("deny=", c.Deny, " ")
		}
		all = append(all, text+"→ "+c.Then.Via)
	}
	return all
}

func answer(via string) *Answer {
	return &Answer{Via: via, IsDenied: via == "403", IsNone: via == "404"}
}

func when(m Match) []Clause { return []Clause{{Is: m}} }

func TestOfRulesTheFirstThatHoldsDecides(t *testing.T) {
	all := []Clause{{}}
	for _, test := range []struct {
		name  string
		rules []Rule
		want  []string
	}{
		{"rules after one for all are dropped", []Rule{{all, answer("a")}, {when(Match{Path: "/x"}), answer("b")}}, []string{"→ a"}},
		{"what is excluded goes on at the next rule", []Rule{{[]Clause{{Not: []Match{{Path: "/x"}}}}, answer("a")}, {all, answer("b")}},
			[]string{"path=/x → b", "→ a"}},
		{"an exclusion of everything leaves nothing", []Rule{{[]Clause{{Not: []Match{{}}}}, answer("a")}, {all, answer("b")}}, []string{"→ b"}},
		{"two exclusions", []Rule{{[]Clause{{Is: Match{Hosts: []string{"h"}}, Not: []Match{{Path: "/x"}, {Methods: []string{"GET"}}}}}, answer("a")}, {all, answer("b")}},
			[]string{"host=h path=/x → b", "host=h method=[GET] → b", "host=h → a", "→ b"}},
		{"what is excluded, in another way than the rest", []Rule{
			{[]Clause{{Is: Match{PathRegexp: "x"}, Not: []Match{{PathRegexp: "y"}}}}, answer("a")}, {all, answer("b")}},
			[]string{"path_regexp=y → b", "path_regexp=x → a", "→ b"}},
		{"denied clients of all routes", []Rule{{when(Match{Clients: []string{"10.0.0.0/8"}}), answer("403")}, {when(Match{Path: "/x"}), answer("a")}, {all, answer("b")}},
			[]string{"path=/x deny=[10.0.0.0/8] → a", "deny=[10.0.0.0/8] → b"}},
		{"a path for some clients alone", []Rule{
			{[]Clause{{Is: Match{Path: "/x"}, Not: []Match{{Clients: []string{"10.0.0.0/8"}}}}}, answer("403")}, {all, answer("b")}},
			[]string{"path=/x allow=[10.0.0.0/8] → b", "→ b"}},
		{"everything for some clients alone", []Rule{
			{[]Clause{{Not: []Match{{Clients: []string{"10.0.0.0/8"}}}}}, answer("403")}, {when(Match{Path: "/x"}), answer("a")}, {all, answer("b")}},
			[]string{"path=/x allow=[10.0.0.0/8] → a", "allow=[10.0.0.0/8] → b"}},
		{"no answer at the end needs no route", []Rule{{when(Match{Path: "/x"}), answer("a")}, {all, answer("404")}}, []string{"path=/x → a"}},
		{"no answer before others needs one", []Rule{{when(Match{Path: "/x/y"}), answer("404")}, {when(Match{Path: "/x"}), answer("a")}, {all, answer("404")}},
			[]string{"path=/x/y → 404", "path=/x → a"}},
	} {
		cases, err := Cases(Match{}, test.rules, func(r Rule, _ bool) { t.Errorf("%s: %v is dropped", test.name, r) })
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		got := describe(Trim(Guard(cases, func(c Case) { t.Errorf("%s: %v is dropped", test.name, c) }, func(c Case) { t.Errorf("%s: %v refuses more", test.name, c) })))
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, got, test.want)
		}
	}
}

func TestClientsThatAreNotRefusedOtherwiseAreNoCondition(t *testing.T) {
	cases, err := Cases(Match{}, []Rule{{when(Match{Clients: []string{"10.0.0.0/8"}}), answer("a")}, {[]Clause{{}}, answer("b")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var dropped []Case
	got := describe(Guard(cases, func(c Case) { dropped = append(dropped, c) }, nil))
	if want := []string{"→ b"}; !reflect.DeepEqual(got, want) || len(dropped) != 1 {
		t.Errorf("got %q, dropped %v; want %q, and the other dropped", got, dropped, want)
	}
}

func TestRulesThatNeedTooManyRoutesAreAnError(t *testing.T) {
	var rules []Rule
	for i := range 30 {
		field := func(name string) Match { return Match{Header: map[string]string{fmt.Sprint(name, i): "*"}} }
		rules = append(rules, Rule{[]Clause{{Is: field("X-"), Not: []Match{field("Y-")}}}, answer("a")})
	}
	if _, err := Cases(Match{}, append(rules, Rule{[]Clause{{}}, answer("b")}), func(Rule, bool) {}); err != ErrManyRoutes {
		t.Errorf("got %v; want %v", err, ErrManyRoutes)
	}
}

func TestRoutesHavePrioritiesWhereTheirOwnOrderIsAnother(t *testing.T) {
	for _, test := range []struct {
		matches []Match
		want    []int
	}{
		{[]Match{{Path: "/x/y"}, {Path: "/x"}, {}}, []int{0, 0, 0}},
		{[]Match{{Path: "/x"}, {PathExact: "/x/y"}}, []int{1, 0}},
		{[]Match{{PathRegexp: "y$"}, {Path: "/x"}, {}}, []int{1, 0, 0}},
		{[]Match{{Path: "/x"}, {Hosts: []string{"h"}}, {}}, []int{1, 0, 0}},
		{[]Match{{Hosts: []string{"a"}, Path: "/x"}, {Hosts: []string{"b"}, PathExact: "/x"}}, []int{0, 0}},
		{[]Match{{Header: map[string]string{"Upgrade": WebSocket}}, {}}, []int{0, 0}},
		{[]Match{{Header: map[string]string{"Upgrade": WebSocket}}, {Path: "/x"}, {PathExact: "/x/y"}, {}}, []int{2, 1, 0, 0}},
		{[]Match{{Hosts: []string{"*.h"}}, {Hosts: []string{"a.h"}}}, []int{1, 0}},
		{[]Match{{Hosts: []string{"a.h"}}, {Hosts: []string{"*.h"}}, {Hosts: []string{"a.*"}}, {}}, []int{0, 0, 0, 0}},
	} {
		if got := Priorities(test.matches); !reflect.DeepEqual(got, test.want) {
			t.Errorf("Priorities(%+v) = %v; want %v", test.matches, got, test.want)
		}
	}
}

func TestAMatchOfTwoIsThatOfRequestsOfBoth(t *testing.T) {
	header := func(value string) Match { return Match{Header: map[string]string{"A": value}} }
	for _, test := range []struct {
		a, b    Match
		want    Match
		overlap Overlap
	}{
		{Match{}, Match{Path: "/x"}, Match{Path: "/x"}, Both},
		{Match{Path: "/x"}, Match{Path: "/x/y"}, Match{Path: "/x/y"}, Both},
		{Match{Path: "/x"}, Match{Path: "/xy"}, Match{}, Disjoint},
		{Match{Path: "/x"}, Match{PathExact: "/x"}, Match{PathExact: "/x"}, Both},
		{Match{PathExact: "/x"}, Match{PathRegexp: "y"}, Match{}, Disjoint},
		{Match{Path: "/x"}, Match{PathRegexp: "y"}, Match{}, Uncertain},
		{Match{Path: "/x"}, Match{PathRegexp: "^/z"}, Match{}, Disjoint},
		{Match{Path: "/x"}, Match{PathRegexp: "^/x/[0-9]+$"}, Match{PathRegexp: "^/x/[0-9]+$"}, Both},
		{Match{Path: "/x/y"}, Match{PathRegexp: "^/x/[0-9]+$"}, Match{}, Uncertain},
		{Match{Path: "/x"}, Match{PathRegexp: "^/x[0-9]+$"}, Match{}, Uncertain},
		{Match{PathRegexp: "^/a"}, Match{PathRegexp: "^/b"}, Match{}, Disjoint},
		{Match{PathRegexp: "^/a"}, Match{PathRegexp: "^/c|/b"}, Match{}, Uncertain},
		{Match{Hosts: []string{"*.h", "b"}}, Match{Hosts: []string{"a.h", "c"}}, Match{Hosts: []string{"a.h"}}, Both},
		{Match{Hosts: []string{"*.h"}}, Match{Hosts: []string{"a.*"}}, Match{}, Uncertain},
		{Match{Hosts: []string{"a"}}, Match{Hosts: []string{"b"}}, Match{}, Disjoint},
		{Match{Methods: []string{"GET", "PUT"}}, Match{Methods: []string{"PUT"}}, Match{Methods: []string{"PUT"}}, Both},
		{Match{Listeners: []string{}}, Match{}, Match{}, Disjoint},
		{header("1"), header("*"), header("1"), Both},
		{header("1"), header("2"), Match{}, Disjoint},
		{header("~1"), header("2"), Match{}, Uncertain},
	} {
		for _, pair := range [][2]Match{{test.a, test.b}, {test.b, test.a}} {
			got, overlap := pair[0].And(pair[1])
			if overlap != test.overlap || overlap == Both && !got.equal(test.want) {
				t.Errorf("%+v and %+v is %+v, %v; want %+v, %v", pair[0], pair[1], got, overlap, test.want, test.overlap)
			}
		}
	}
}
