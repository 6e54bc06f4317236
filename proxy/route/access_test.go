package route

import (
	"net/netip"
	"strings"
	"testing"

	"sluice/balancer"
)

func TestAllowAndDeny(t *testing.T) {
	for name, test := range map[string]struct {
		allow, deny []string
		in, out     []string // clients; "" is one at a Unix socket
	}{
		"none":         {nil, nil, []string{"192.0.2.1", "2001:db8::1", ""}, nil},
		"only these":   {[]string{"192.0.2.0/24", "2001:db8::1"}, nil, []string{"192.0.2.9", "2001:db8::1"}, []string{"192.0.3.1", "2001:db8::2", ""}},
		"not these":    {nil, []string{"192.0.2.0/24"}, []string{"192.0.3.1", "2001:db8::1", ""}, []string{"192.0.2.9"}},
		"deny decides": {[]string{"192.0.2.0/24"}, []string{"192.0.2.9"}, []string{"192.0.2.8"}, []string{"192.0.2.9", "192.0.3.1", ""}},
		"deny at the beginning": {[]string{"10.0.0.0/8", "fe80::/10"}, []string{"fe80::/16", "10.0.0.0/9", "10.128.0.0/31"}, []string{"10.128.0.2", "fe81::"},
			[]string{"10.0.0.0", "10.127.255.255", "10.128.0.1", "fe80::1", "11.0.0.0"}},
		"everybody but none":   {[]string{"0.0.0.0/0", "::/0"}, nil, []string{"192.0.2.1", "2001:db8::1"}, []string{""}},
		"an address of a zone": {[]string{"fe80::/10"}, nil, []string{"fe80::1%eth0"}, []string{"2001:db8::1"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Config{Path: "/", Allow: test.allow, Deny: test.deny}
			r := New(c, new(balancer.Config), nil)
			for _, client := range test.in {
				if addr, _ := netip.ParseAddr(client); !r.Admits(addr) {
					t.Errorf("%q is not admitted", client)
				}
			}
			for _, client := range test.out {
				if addr, _ := netip.ParseAddr(client); r.Admits(addr) {
					t.Errorf("%q is admitted", client)
				}
			}
			if example := r.ExampleClient(); !r.Admits(example) && len(test.allow) > 0 {
				t.Errorf("ExampleClient() = %v, which is not admitted", example)
			}
		})
	}
}

func TestMistakesInAllowAndDenyAreReported(t *testing.T) {
	for name, test := range map[string]struct {
		allow, deny []string
		want        []string // key and problem
	}{
		"none":                     {[]string{"10.0.0.0/8"}, []string{"10.1.0.0/16", "::1"}, nil},
		"no address":               {[]string{"localhost"}, []string{"10.0.0.0/33"}, []string{"deny[0] not an address or prefix", "allow[0] not an address or prefix"}},
		"the same in both":         {[]string{"::1", "10.0.0.1"}, []string{"10.0.0.1"}, []string{"allow[1] without effect: deny[0] includes it"}},
		"the same otherwise":       {[]string{"::ffff:10.1.2.3"}, []string{"10.0.0.0/8"}, []string{"allow[0] without effect: deny[0] includes it"}},
		"bits after the length":    {[]string{"10.1.2.3/8"}, []string{"10.0.0.0/8"}, []string{"allow[0] without effect: deny[0] includes it"}},
		"of the other family":      {[]string{"10.0.0.0/8"}, []string{"::/0"}, nil},
		"a larger one is no fault": {[]string{"0.0.0.0/0"}, []string{"10.0.0.0/8"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			c := &Config{Allow: test.allow, Deny: test.deny}
			c.checkAccess(func(key, problem string, _ any, _ string) { got = append(got, key+" "+problem) })
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("problems %q, want %q", got, test.want)
			}
		})
	}
}
