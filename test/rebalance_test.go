//go:build unix

package test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// serviceRestart is RFC 6455's registered code 1012, which gobwas/ws has no name for.
const serviceRestart = ws.StatusCode(1012)

func TestRebalanceBringsANewBackendToItsShareAndTouchesNoMore(t *testing.T) {
	sessions := sized(3000, 300)
	rate := sessions / 4 // a second
	var addresses []string
	for range 4 {
		_, a := startEcho(t, "127.0.0.1:0")
		addresses = append(addresses, a)
	}
	keys := fmt.Sprintf("[pool.rebalance]\nrate = %d\ntolerance = 5\ninterval = \"1s\"", rate)
	g := runChanging(t, poolOf(keys, addresses[:3]...))
	g.untilBackends(t, addresses[:3]...)
	guests := g.inviteMany(t, sessions)
	for _, a := range addresses[:3] {
		if got := g.backends(t)[a].Sessions; got != sessions/3 {
			t.Fatalf("%d sessions on %s; want %d", got, a, sessions/3)
		}
	}
	// One in four talks all the time. The idle ones suffice.
	busy := guests[:sessions/4]
	quiet := make(chan struct{})
	talked := make(chan struct{})
	go func() {
		defer close(talked)
		for {
			for _, guest := range busy {
				_ = guest.say("hello")
			}
			select {
			case <-quiet:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()

	g.change(t, poolOf(keys, addresses...))
	g.untilBackends(t, addresses...)
	begun := time.Now()
	var firstEnd, lastEnd time.Time
	back, isBack := 0, make([]bool, sessions)
	isLevel := func() bool {
		// Who is closed comes back at once.
		for i, guest := range guests {
			if !guest.hasEnded() || isBack[i] {
				continue
			}
			if guest.code != serviceRestart {
				t.Fatalf("a session ended with %d, want 1012", guest.code)
			}
			if lastEnd = time.Now(); back == 0 {
				firstEnd = lastEnd
			}
			isBack[i] = true
			back++
			g.invite(t, nil, "/")
		}
		for _, a := range addresses {
			if off := g.backends(t)[a].Sessions - sessions/4; off*20 > sessions/4 || off*20 < -sessions/4 {
				return false
			}
		}
		return true
	}
	eventually(t, 4*patience, "each backend at its share within 5%", isLevel)
	// The plan goes on to the share itself, and nothing follows: two more looks at the shares.
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if !isLevel() {
			t.Fatal("a backend left its share")
		}
	}
	close(quiet)
	<-talked
	t.Logf("level %v after the fourth came; %d closed in %v at a rate of %d a second", lastEnd.Sub(begun), back, lastEnd.Sub(firstEnd), rate)
	if back > sessions/4 {
		t.Errorf("%d sessions were closed; the surplus was %d", back, sessions/4)
	}
	if took, least := lastEnd.Sub(firstEnd).Seconds(), float64(back)/float64(rate)*0.8; took < least {
		t.Errorf("%d sessions were closed in %.1fs; the rate allows %d a second", back, took, rate)
	}
	for i, guest := range busy {
		if guest.hasEnded() {
			t.Fatalf("session %d talked all the time and was closed, beside idle ones", i)
		}
	}
}

func TestADrainedBackendIsLeftInTimeAndTakesNoNewSessions(t *testing.T) {
	t.Parallel()
	const sessions = 60
	_, one := startEcho(t, "127.0.0.1:0")
	_, other := startEcho(t, "127.0.0.1:0")
	g := runGateway(t, poolOf("", one, other))
	guests := g.inviteMany(t, sessions)
	begun := time.Now()
	g.order(t, one, "drain?over=1s")
	if view := g.backends(t)[one]; view.State != "draining" {
		t.Errorf("state %s", view.State)
	}
	eventually(t, patience, "a part of the sessions is closed", func() bool {
		left := g.backends(t)[one].Sessions
		return left > 0 && left < sessions/2-3
	})
	g.invite(t, nil, "/")
	eventually(t, patience, "no session is left", func() bool { return g.backends(t)[one].Sessions == 0 })
	if took := time.Since(begun); took < 700*time.Millisecond || took > 3*time.Second {
		t.Errorf("drained in %v, with over=1s", took)
	}
	closed := 0
	for _, guest := range guests {
		if !guest.hasEnded() {
			continue
		}
		closed++
		if guest.code != serviceRestart {
			t.Errorf("a session of the drained backend ended with %d, want 1012", guest.code)
		}
	}
	if closed != sessions/2 {
		t.Errorf("%d sessions ended; want the %d of the drained backend", closed, sessions/2)
	}
	if views := g.backends(t); views[one].Failures["lost"] != 0 || views[other].Sessions != sessions/2+1 {
		t.Errorf("after the drain: %+v", views)
	}
	g.order(t, one, "undrain")
	g.untilState(t, one, "up")
	g.invite(t, nil, "/")
	if n := g.backends(t)[one].Sessions; n != 1 {
		t.Errorf("%d sessions on the backend that is back with none; want the next one", n)
	}
}

func TestASessionThatIsClosingAlreadyKeepsNoOtherFromBeingDrained(t *testing.T) {
	t.Parallel()
	s := startStub(t, "127.0.0.1:0")
	s.behave(deaf)
	g := runGateway(t, quietBasics+fmt.Sprintf("[[route]]\npool = \"pool\"\nclose_timeout = \"200ms\"\n[[pool]]\nname = \"pool\"\nbackend = [{ address = %q }]\n", s.address))
	for range 3 {
		// Its client has said goodbye, and its backend doesn't answer: a drain comes too late to end it.
		leaving := g.invite(t, nil, "/")
		if _, err := leaving.conn.Write([]byte("\x88\x80\x00\x00\x00\x00")); err != nil {
			t.Fatal(err)
		}
		staying := g.invite(t, nil, "/")
		g.order(t, s.address, "drain?over=0s")
		eventually(t, patience, "both sessions are over", func() bool { return g.backends(t)[s.address].Sessions == 0 })
		if <-staying.ended; staying.code != serviceRestart {
			t.Errorf("the session that was drained ended with %d, want 1012", staying.code)
		}
		g.order(t, s.address, "undrain")
	}
}
