//go:build unix

package test

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// ejecting are keys of a pool that ejects a member after three failures in a row, for baseTime at first.
func ejecting(baseTime string) string {
	return fmt.Sprintf("slow_start = \"2s\"\nretries = 2\n[pool.ejection]\nfailures = 3\nlost = 5\nwindow = \"10s\"\nbase_time = %q\nmax_time = \"10s\"\nmax_percent = 50", baseTime)
}

func TestABackendThatIsKilledLosesItsOwnSessionsAndNoNewOne(t *testing.T) {
	sessions := sized(500, 120)
	var echoes []*program
	var addresses []string
	for range 3 {
		p, address := startEcho(t, "127.0.0.1:0")
		echoes, addresses = append(echoes, p), append(addresses, address)
	}
	g := runGateway(t, poolOf(ejecting("1s"), addresses...))
	guests := g.inviteMany(t, sessions)
	news := startStream(t, g)
	eventually(t, patience, "a stream of new sessions", func() bool { return news.count() > 20 })

	killed := time.Now()
	echoes[1].signal(t, syscall.SIGKILL)
	g.untilState(t, addresses[1], "ejected")
	if took := time.Since(killed); took > time.Second {
		t.Errorf("ejected %v after it was killed; want within 1s", took)
	} else {
		t.Logf("ejected %v after it was killed", took)
	}

	// What it had is told with 1012, and nobody else notices.
	var lost, live []*guest
	eventually(t, patience, "a third of the sessions is lost", func() bool {
		lost, live = nil, nil
		for _, guest := range guests {
			if guest.hasEnded() {
				lost = append(lost, guest)
			} else {
				live = append(live, guest)
			}
		}
		return len(lost) >= sessions/3-1
	})
	for _, guest := range lost {
		if guest.code != 1012 {
			t.Fatalf("a session of the killed backend ended with %d, want 1012", guest.code)
		}
	}
	if len(lost) > sessions/3+1 {
		t.Errorf("%d of %d sessions ended; want the third that was the killed backend's", len(lost), sessions)
	}

	// Its time is over and it is still dead: a trial finds that out, and still nobody notices.
	eventually(t, patience, "a second trial", func() bool { return g.backends(t)[addresses[1]].Failures["trial"] >= 2 })

	// It is back: its share grows.
	echoes[1], _ = startEcho(t, addresses[1])
	warming := g.untilState(t, addresses[1], "slow_start")
	if warming.Warmth > 0.5 {
		t.Errorf("warmth %.2f as soon as it is back", warming.Warmth)
	}
	back := g.inviteMany(t, len(lost))
	during := g.backends(t)
	if b := during[addresses[1]]; b.State == "slow_start" {
		share := float64(sessions) / 3
		if limit := b.Warmth*share + 0.1*share + 3; float64(b.Sessions) > limit {
			t.Errorf("%d sessions at %.0f%% of its weight; want at most %.0f", b.Sessions, 100*b.Warmth, limit)
		}
		t.Logf("%d sessions at %.0f%% of its weight", b.Sessions, 100*b.Warmth)
	}
	g.untilState(t, addresses[1], "up")
	// What comes from now on goes where the fewest are.
	more := g.inviteMany(t, len(lost))
	if b := g.backends(t)[addresses[1]]; b.Sessions < len(lost)/2 {
		t.Errorf("%d sessions after its slow start; want at least %d", b.Sessions, len(lost)/2)
	}
	news.wantNoErrors(t)
	for _, guest := range append(append(live, back...), more...) {
		if guest.hasEnded() {
			t.Fatalf("a session of another backend, or a new one, ended with %d", guest.code)
		}
	}
}

func TestAFlappingBackendIsOutLongerEachTimeAndNobodyNotices(t *testing.T) {
	flapping, address := startEcho(t, "127.0.0.1:0")
	_, steady := startEcho(t, "127.0.0.1:0")
	g := runGateway(t, poolOf(ejecting("200ms"), address, steady))
	news := startStream(t, g)
	for i := range 3 {
		before := g.logged("backend ejected", address)
		flapping.signal(t, syscall.SIGKILL)
		eventually(t, patience, fmt.Sprintf("ejection in round %d", i), func() bool { return g.logged("backend ejected", address) > before })
		flapping, _ = startEcho(t, address)
		eventually(t, patience, "it is available again", func() bool {
			state := g.backends(t)[address].State
			return state == "slow_start" || state == "up"
		})
	}
	news.wantNoErrors(t)
	fors := g.durationsOf("backend ejected", address)
	for i := 1; i < len(fors); i++ {
		if fors[i] < fors[i-1]*3/2 {
			t.Errorf("ejected for %v; want each time about twice as long", fors)
			break
		}
	}
	if g.backends(t)[steady].State != "up" {
		t.Error("the steady backend isn't up")
	}
}
