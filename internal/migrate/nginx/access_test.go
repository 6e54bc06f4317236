package nginx

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rule is an allow or deny.
func rule(name, who string) *directive { return &directive{name: name, args: []string{who}} }

func TestClientsAreDividedAsTheFirstRuleSays(t *testing.T) {
	for _, test := range []struct {
		name            string
		rules           []*directive
		allowed, denied []string
	}{
		{"none", nil, nil, nil},
		{"all but some", []*directive{rule("deny", "10.0.0.1"), rule("deny", "2001:db8::/32"), rule("allow", "all")}, nil, []string{"10.0.0.1", "2001:db8::/32"}},
		{"some", []*directive{rule("allow", "10.0.0.0/8"), rule("deny", "all")}, []string{"10.0.0.0/8"}, nil},
		{"some, but not all of them", []*directive{rule("deny", "10.1.0.0/16"), rule("allow", "10.0.0.0/8"), rule("deny", "all")}, []string{"10.0.0.0/8"}, []string{"10.1.0.0/16"}},
		{"what is allowed is not denied after that", []*directive{rule("allow", "10.0.0.0/31"), rule("deny", "10.0.0.0/29")}, []string{"10.0.0.0/31"}, []string{"10.0.0.2/31", "10.0.0.4/30"}},
		{"nothing after all", []*directive{rule("allow", "all"), rule("deny", "10.0.0.1")}, nil, nil},
		{"no address", []*directive{rule("allow", "unix:"), rule("deny", "all")}, nil, nil},
	} {
		allowed, denied := divideClients(test.rules)
		if diff := cmp.Diff([][]string{test.allowed, test.denied}, [][]string{texts(allowed), texts(denied)}); diff != "" {
			t.Errorf("%s: allowed, denied (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestEachClientIsDividedAsTheFirstRuleSays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	prefix := func() netip.Prefix {
		addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(256))})
		return netip.PrefixFrom(addr, 24+random.IntN(9)).Masked()
	}
	for range 500 {
		var rules []*directive
		var prefixes []netip.Prefix
		for range 1 + random.IntN(5) {
			p := prefix()
			rules, prefixes = append(rules, rule([]string{"allow", "deny"}[random.IntN(2)], p.String())), append(prefixes, p)
		}
		isClosed := random.IntN(2) == 0
		if isClosed {
			rules = append(rules, rule("deny", "all"))
		}
		allowed, denied := divideClients(rules)
		for last := range 256 {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(last)})
			has := func(p netip.Prefix) bool { return p.Contains(addr) }
			want := !isClosed
			if i := slices.IndexFunc(prefixes, has); i >= 0 {
				want = rules[i].name == "allow"
			}
			got := !slices.ContainsFunc(denied, has) && (!isClosed || slices.ContainsFunc(allowed, has))
			if got != want {
				t.Fatalf("%v: %v may use the route: %t, want %t (allow %v, deny %v)", rules, addr, got, want, allowed, denied)
			}
		}
	}
}
