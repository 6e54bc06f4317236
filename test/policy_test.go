//go:build unix

package test

import (
	"fmt"
	"math"
	"net"
	"testing"
)

// policies are the tables and keys that each policy needs. A hot key must not matter, so sessions come
// from different addresses and for different rooms.
var policies = []struct{ name, keys string }{
	{"round_robin", ""}, {"least_conn", ""}, {"random_two", ""}, {"random", ""}, {"ip_hash", ""},
	{"hash", "[pool.hash]\nheader = \"X-Room\""},
	{"sticky", "[pool.sticky]\nsecret = \"0123456789abcdef\""},
}

func TestEveryPolicyKeepsItsSharesOverTheWire(t *testing.T) {
	t.Parallel()
	const sessions = 400
	weights := []int{1, 2, 5}
	for _, policy := range policies {
		t.Run(policy.name, func(t *testing.T) {
			var members, addresses []string
			for _, w := range weights {
				s := startStub(t, "127.0.0.1:0")
				addresses = append(addresses, s.address)
				members = append(members, fmt.Sprintf("{ address = %q, weight = %d }", s.address, w))
			}
			g := runGateway(t, poolOf(fmt.Sprintf("policy = %q\n%s", policy.name, policy.keys), members...))
			got := map[string]int{}
			for i := range sessions {
				got[g.invite(t, net.IPv4(127, 7, byte(i>>8), byte(i)), "/", roomHeader(i)).backend]++
			}
			views := g.backends(t)
			for i, w := range weights {
				p := float64(w) / 8
				want := p * sessions
				// Turns and loads are exact; a draw and a key are off by chance: four deviations.
				slack := 4 * math.Sqrt(sessions*p*(1-p))
				switch policy.name {
				case "round_robin", "least_conn", "sticky":
					slack = 1
				}
				n := got[addresses[i]]
				if math.Abs(float64(n)-want) > slack {
					t.Errorf("%d of %d sessions on the member of weight %d; want %.0f within %.0f", n, sessions, w, want, slack)
				}
				if views[addresses[i]].Sessions != n {
					t.Errorf("%d sessions say that they are on %s, the API says %d", n, addresses[i], views[addresses[i]].Sessions)
				}
			}
		})
	}
}

// homes joins once for each of some rooms, and returns where each went.
func homes(t *testing.T, g *gateway, rooms int) []string {
	t.Helper()
	var where []string
	for i := range rooms {
		guest := g.invite(t, net.IPv4(127, 7, 1, byte(i)), "/?room="+fmt.Sprint(i), roomHeader(i), fmt.Sprintf("Cookie: room=%d", i))
		where = append(where, guest.backend)
		guest.leave()
	}
	return where
}

func TestAKeyGoesToItsBackendInEveryProcess(t *testing.T) {
	t.Parallel()
	const rooms = 60
	var addresses []string
	stubs := map[string]*stub{}
	for range 3 {
		s := startStub(t, "127.0.0.1:0")
		addresses, stubs[s.address] = append(addresses, s.address), s
	}
	for _, keys := range []string{
		"policy = \"ip_hash\"",
		"policy = \"hash\"\n[pool.hash]\nheader = \"X-Room\"",
		"policy = \"hash\"\n[pool.hash]\ncookie = \"room\"",
		"policy = \"hash\"\n[pool.hash]\nquery = \"room\"",
	} {
		one, other := runGateway(t, poolOf(keys, addresses...)), runGateway(t, poolOf(keys, addresses[2], addresses[0], addresses[1]))
		before := homes(t, one, rooms)
		for i, home := range homes(t, other, rooms) {
			if home != before[i] {
				t.Fatalf("%s: room %d is at %s in one process and at %s in another", keys, i, before[i], home)
			}
		}
		// The first one drains: its rooms move, and no other.
		one.order(t, addresses[0], "drain?over=0s")
		for i, home := range homes(t, one, rooms) {
			if (before[i] == addresses[0]) == (home == before[i]) {
				t.Errorf("%s: room %d moved from %s to %s when %s drained", keys, i, before[i], home, addresses[0])
			}
		}
		one.order(t, addresses[0], "undrain")
		if got := homes(t, one, rooms); fmt.Sprint(got) != fmt.Sprint(before) {
			t.Errorf("%s: the rooms are not where they were before the drain", keys)
		}
	}
}

func TestAHotKeyIsSharedWithinTheBound(t *testing.T) {
	t.Parallel()
	const sessions, bound = 120, 1.25
	weights := []int{1, 2, 3}
	total := 6.0
	var addresses, members []string
	for _, w := range weights {
		s := startStub(t, "127.0.0.1:0")
		addresses = append(addresses, s.address)
		members = append(members, fmt.Sprintf("{ address = %q, weight = %d }", s.address, w))
	}
	g := runGateway(t, poolOf(fmt.Sprintf("policy = \"hash\"\n[pool.hash]\nheader = \"X-Room\"\nbounded_load = %v", bound), members...))
	home := ""
	got := map[string]int{}
	var hot []*guest
	for i := 1; i <= sessions; i++ {
		guest := g.invite(t, nil, "/", roomHeader(0))
		hot = append(hot, guest)
		got[guest.backend]++
		if i == 1 {
			home = guest.backend
		}
		for k, w := range weights {
			if most := math.Ceil(bound * float64(i) * float64(w) / total); float64(got[addresses[k]]) > most {
				t.Fatalf("%d of %d sessions are on the member of weight %d, the bound is %.0f", got[addresses[k]], i, w, most)
			}
		}
	}
	for k, w := range weights {
		// What the others may hold at most is what one holds at least.
		if least := sessions - bound*sessions*(total-float64(w))/total - 2; float64(got[addresses[k]]) < least || addresses[k] == home &&
			float64(got[addresses[k]]) < bound*sessions*float64(w)/total-1 {
			t.Errorf("%v: too few on the member of weight %d", got, w)
		}
	}
	for _, guest := range hot {
		guest.leave()
	}
	eventually(t, patience, "the sessions are over", func() bool { return g.count(t, "sluice_sessions_active") == 0 })
	if after := g.invite(t, nil, "/", roomHeader(0)).backend; after != home {
		t.Errorf("with no other session the key is at %s, its home is %s", after, home)
	}
}

func TestAStickyCookieBringsAClientBackUntilItsBackendIsGone(t *testing.T) {
	t.Parallel()
	one, other := startStub(t, "127.0.0.1:0"), startStub(t, "127.0.0.1:0")
	config := poolOf("policy = \"sticky\"\n[pool.sticky]\ncookie = \"home\"\nsecret = \"0123456789abcdef\"", one.address, other.address)
	g := runGateway(t, config)
	first := g.invite(t, nil, "/")
	if first.cookie == "" {
		t.Fatal("no cookie comes with the 101")
	}
	twin := runGateway(t, config) // another process with the secret
	for range 5 {
		for _, gateway := range []*gateway{g, twin} {
			again := gateway.invite(t, nil, "/", "Cookie: other=1; "+first.cookie)
			if again.backend != first.backend || again.cookie != "" {
				t.Fatalf("the client of %s comes to %s, and gets the cookie %q", first.backend, again.backend, again.cookie)
			}
		}
	}
	// Its backend refuses: the client gets another one, and the cookie of that.
	map[string]*stub{one.address: one, other.address: other}[first.backend].close()
	moved := g.invite(t, nil, "/", "Cookie: "+first.cookie)
	if moved.backend == first.backend || moved.cookie == "" || moved.cookie == first.cookie {
		t.Errorf("with %s gone its client comes to %s, and gets the cookie %q", first.backend, moved.backend, moved.cookie)
	}
	if forged := g.invite(t, nil, "/", "Cookie: home=AAAAAAAAAAAAAAAAAAAAAA"); forged.cookie == "" {
		t.Error("a forged cookie is taken for a good one")
	}
}

func TestABackupTakesSessionsOnlyWhenNoOtherIsThere(t *testing.T) {
	t.Parallel()
	first, spare := startStub(t, "127.0.0.1:0"), startStub(t, "127.0.0.1:0")
	g := runGateway(t, poolOf("", fmt.Sprintf("{ address = %q }", first.address), fmt.Sprintf("{ address = %q, backup = true }", spare.address)))
	for range 10 {
		if got := g.invite(t, nil, "/").backend; got != first.address {
			t.Fatalf("a session on %s, the backup, beside an available backend", got)
		}
	}
	g.order(t, first.address, "drain?over=0s")
	if got := g.invite(t, nil, "/").backend; got != spare.address {
		t.Errorf("a session on %s while it drains", got)
	}
	g.order(t, first.address, "undrain")
	if got := g.invite(t, nil, "/").backend; got != first.address {
		t.Errorf("a session on %s, the backup, after the other came back", got)
	}
}
