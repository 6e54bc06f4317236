package route

import (
	"net/netip"
	"testing"
)

func TestPrefixesIncludeAddresses(t *testing.T) {
	for _, test := range []struct {
		prefix, in, out string
	}{
		{"192.0.2.1", "192.0.2.1", "192.0.2.2"},
		{"192.0.2.0/24", "192.0.2.255", "192.0.3.0"},
		{"192.0.2.77/24", "192.0.2.1", "192.0.3.1"}, // bits after the length are dropped
		{"0.0.0.0/0", "203.0.113.9", "2001:db8::1"},
		{"::/0", "2001:db8::1", "203.0.113.9"},
		{"2001:db8::/32", "2001:db8:1::1", "2001:db9::1"},
		{"fe80::/10", "fe80::1%eth0", "2001:db8::1%eth0"},
		{"::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"},
		{"::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"},
		{"::ffff:0:0/96", "203.0.113.9", "2001:db8::1"},
	} {
		list, err := ParsePrefixes([]string{test.prefix})
		if err != nil {
			t.Errorf("ParsePrefixes(%q): %v", test.prefix, err)
			continue
		}
		if !list.Includes(netip.MustParseAddr(test.in)) {
			t.Errorf("%s does not include %s", test.prefix, test.in)
		}
		if list.Includes(netip.MustParseAddr(test.out)) {
			t.Errorf("%s includes %s", test.prefix, test.out)
		}
		if list.Includes(netip.Addr{}) {
			t.Errorf("%s includes no address", test.prefix)
		}
	}
}

func TestWhatIsNoPrefixIsRefused(t *testing.T) {
	for _, s := range []string{"", "example.com", "192.0.2", "192.0.2.1/33", "192.0.2.0/", "/24", "2001:db8::/129", "192.0.2.1-9", "all"} {
		if p, err := ParsePrefix(s); err == nil {
			t.Errorf("ParsePrefix(%q) = %v, nil", s, p)
		}
	}
}
