package driver

import (
	"crypto/tls"
	"fmt"
	"testing"

	"sluice/proxy/relay"
)

// A driver reuses slots, memory and pipes. The tests in this file show that a session neither reads nor sends anything that an earlier
// session left in them.

// A reuser opens a driver that gives each session what the session before it had.
type reuser struct {
	isSpecial bool // the test of all pairs leaves it out
	open      func(testing.TB) Driver
	// spoil checks that the driver holds nothing of a session, and overwrites the memory that it keeps for the next one. The
	// caller has no live session.
	spoil func(testing.TB, Driver)
	// keeps returns how many descriptors the driver keeps for the next session.
	keeps func(Driver) int
	// wantSame checks that the second session, which followed the first one, reuses its slot.
	wantSame func(t testing.TB, first, second *Handle)
}

// reusers are the drivers; those of this system add theirs.
var reusers = map[string]reuser{
	"goroutine": {
		open:     openGoroutine,
		spoil:    func(t testing.TB, d Driver) { spoilGoroutine(t, d.(*Goroutine)) },
		keeps:    func(Driver) int { return 0 },
		wantSame: func(testing.TB, *Handle, *Handle) {}, // it has no slots; it reuses what its pools lend
	},
}

// A past is what a session does before another one follows it.
type past struct {
	name    string
	tls     security
	traffic func(*reused)
	isCut   bool // the traffic ends inside a frame
	end     func(*reused)
	side    relay.Side // the one that ends the session, and that sends the frame that is cut
}

var (
	// securities are the kinds of sessions.
	securities = []struct {
		name string
		tls  security
	}{
		{"plain", security{}},
		{"TLS client", security{tls.VersionTLS13, 0}},
		{"TLS backend", security{0, tls.VersionTLS13}},
		{"TLS", security{tls.VersionTLS13, tls.VersionTLS13}},
		{"TLS 1.2 of the client, 1.3 of the backend", security{tls.VersionTLS12, tls.VersionTLS13}},
	}
	traffics = []struct {
		name    string
		isLarge bool // the side that ends the session makes a difference
		isCut   bool
		play    func(*reused)
	}{
		{"small frames", false, false, (*reused).sendSmall},
		{"large frames", true, false, (*reused).sendStaged},
		{"part of a large frame", true, true, (*reused).sendPart},
	}
	endings = []struct {
		name string
		play func(*reused)
	}{
		{"close", (*reused).endByClose},
		{"end of stream", (*reused).endByEOF},
		{"reset", (*reused).endByReset},
		{"drain", (*reused).endByDrain},
	}
)

// Every kind of session follows every other one in the same slot, after every kind of traffic and every way to end. Between the two
// the test overwrites all memory that the driver keeps.
func TestASessionSeesNothingOfTheOneBeforeIt(t *testing.T) {
	checkBaseline := baseline(t)
	for name, r := range reusers {
		if r.isSpecial {
			continue
		}
		t.Run(name, func(t *testing.T) {
			d := openTested(t, &kind{open: r.open})
			r.spoil(t, d.Driver)
			fds := descriptors(t) - r.keeps(d.Driver)
			for _, p := range pasts() {
				for _, second := range securities {
					if second.tls.client == tls.VersionTLS12 && p.tls != (security{}) {
						continue // the slot starts alike for both versions
					}
					isWell := t.Run(p.name+"/then "+second.name, func(t *testing.T) {
						playPair(t, r, d, p, second.tls)
						eventually(t, "descriptors back at the baseline", func() bool {
							return descriptors(t)-r.keeps(d.Driver) == fds
						})
					})
					if !isWell {
						return // the slot may still hold the session
					}
				}
			}
		})
	}
	checkBaseline()
}

// pasts returns every combination that makes a difference.
func pasts() (all []past) {
	for _, s := range securities {
		for _, traffic := range traffics {
			if s.tls.client == tls.VersionTLS12 && traffic.isLarge {
				continue // crypto/tls keeps little of what passes
			}
			for _, ending := range endings {
				for side := relay.Client; side <= relay.Backend; side++ {
					if !traffic.isLarge && side == relay.Backend {
						continue
					}
					name := fmt.Sprintf("%s, %s, %s by the %s", s.name, traffic.name, ending.name, side)
					all = append(all, past{name, s.tls, traffic.play, traffic.isCut, ending.play, side})
				}
			}
		}
	}
	return all
}

func playPair(t *testing.T, r reuser, d *tested, p past, second security) {
	x := startReused(t, d, p.tls, p.isCut, p.side)
	defer x.checkTaps()
	p.traffic(x)
	p.end(x)
	x.wantEnded()
	r.spoil(t, d.Driver)

	y := startReused(t, d, second, false, p.side)
	defer y.checkTaps()
	r.wantSame(t, x.handle, y.handle)
	y.sendLarge()
	y.sendSmall()
	y.endByClose()
	result := y.wantEnded()
	if v := result.Verdict; v.Initiator != relay.Initiator(p.side) || v.Code != 1000 || v.Reason != relay.ReasonClose {
		t.Errorf("verdict %v %d %v; want %v 1000 %v", v.Initiator, v.Code, v.Reason, relay.Initiator(p.side), relay.ReasonClose)
	}
	want := relay.Counts{Frames: 1, Messages: 1, Bytes: largeFrame}
	for _, n := range smallFrames {
		want.Frames, want.Messages, want.Bytes = want.Frames+1, want.Messages+1, want.Bytes+uint64(n)
	}
	if result.Counts != [2]relay.Counts{want, want} {
		t.Errorf("counts %+v; want %+v each way", result.Counts, want)
	}
	r.spoil(t, d.Driver)
}
