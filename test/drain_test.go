//go:build unix

package test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A spreading is a way to close many sessions over a time; all of them take the same path.
type spreading struct {
	name  string
	begin func(t *testing.T, g *changing, config string, over time.Duration)
	ends  bool // the process, too
}

var spreadings = []spreading{
	{"a stop", func(t *testing.T, g *changing, _ string, _ time.Duration) { g.signal(t, syscall.SIGTERM) }, true},
	{"the drain of a backend", func(t *testing.T, g *changing, config string, over time.Duration) {
		_, backend, _ := strings.Cut(config, `backend = [{ address = "`)
		backend, _, _ = strings.Cut(backend, `"`)
		url := fmt.Sprintf("http://%s/api/v1/pools/drained/backends/%s/drain?over=%s", g.admin, strings.Replace(backend, ":", "%3A", 1), over)
		response, err := http.Post(url, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("POST %s: %d", url, response.StatusCode)
		}
	}, false},
	{"the removal of a pool", func(t *testing.T, g *changing, config string, _ time.Duration) {
		first, second := strings.Index(config, "[[route]]"), strings.LastIndex(config, "[[route]]")
		g.change(t, config[:first]+config[second:])
	}, false},
}

func TestSessionsAreClosedEvenlyIdleOnesFirst(t *testing.T) {
	t.Parallel()
	// With SLUICE_TEST_SESSIONS as many sessions as it says over ten seconds.
	over, most := 3*time.Second, 0.5 // in a tenth: a busy machine may stand still for longer than one
	if os.Getenv("SLUICE_TEST_SESSIONS") != "" {
		over, most = 10*time.Second, 0.15
	}
	for _, way := range spreadings {
		t.Run(way.name, func(t *testing.T) {
			config := strings.Replace(basics, `drain = "0s"`, fmt.Sprintf("drain = %q\non_removed = \"drain\"", over), 1)
			for _, name := range []string{"drained", "other"} {
				config += fmt.Sprintf("[[route]]\npath = \"/%s\"\npool = %q\nclose_timeout = \"5s\"\n[[pool]]\nname = %q\nbackend = [{ address = %q }]\n",
					name, name, name, runEcho(t))
			}
			g := runChanging(t, config)
			f, other := newTraffic(t), newTraffic(t)
			count := sessionCount(t, 200)
			for i := range count {
				f.add(t, g.listeners["public"], "/drained", false, i%10 == 0)
			}
			if !way.ends {
				for range 10 {
					other.add(t, g.listeners["public"], "/other", false, false)
				}
			}
			eventually(t, patience, "everybody talks", func() bool {
				for _, k := range f.talkers {
					if !k.isIdle && k.received.Load() < 3 {
						return false
					}
				}
				return true
			})
			begin := time.Now()
			way.begin(t, g, config, over)
			f.wantSpread(t, begin, over, most)
			if !way.ends {
				other.wantWhole(t) // what is done to the others doesn't concern them
				return
			}
			if code := g.exitCode(t, time.Until(begin.Add(over+5*time.Second+slack))); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			told := ""
			eventually(t, patience, "the log tells how many went which way", func() (isThere bool) {
				_, told, isThere = strings.Cut(g.log.String(), `"message":"drained",`)
				return isThere
			})
			if want := fmt.Sprintf(`"closed":%d,"cut":0,"ended":0`, count); !strings.HasPrefix(told, want) {
				t.Errorf("the log tells %.60s, want %s", told, want)
			}
		})
	}
}

func TestTheLogOfAStopTellsHowManyWentWhichWay(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, draining(`drain = "1s"`, backend.port()))
	answers, answersB := open(t, g, backend, "/")
	silent, _ := open(t, g, backend, "/")
	leaves, leavesB := open(t, g, backend, "/")
	g.signal(t, syscall.SIGTERM)
	eventually(t, patience, "the drain has begun", func() bool { return strings.Contains(g.log.String(), `"message":"draining"`) })
	leaves.send(t, leaves.closeFrame(1000, "")) // it may have been asked just before
	answers.wantClose(t, 1012)
	answers.send(t, answers.closeFrame(1012, ""))
	answersB.wantClose(t, 1012)
	answersB.send(t, answersB.closeFrame(1012, ""))
	_, _ = io.Copy(io.Discard, leaves)
	leavesB.wantGone(t)
	silent.wantClose(t, 1012)
	if code := g.exitCode(t, patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	eventually(t, patience, "one is cut", func() bool { return strings.Contains(g.log.String(), `"cut":1,`) })
}

// fragment draws the header of an unmasked frame of a backend, and a payload.
func fragment(first byte, payload string) string {
	return string(binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(len(payload)))) + payload
}

func TestAStopClosesASessionAtTheEndOfItsMessageOrOfAFrame(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(config string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(draining(`drain = "0s"`, backend.port())))
		payload := strings.Repeat("x", 1000)
		begun := fragment(byte(ws.OpText), payload) // without FIN
		ends, endsB := open(t, g, backend, "/")
		never, neverB := open(t, g, backend, "/")
		for _, b := range []*wire{endsB, neverB} {
			b.send(t, begun+fragment(0, payload)[:500]) // and a frame that is half here
		}
		for _, c := range []*wire{ends, never} {
			c.want(t, begun)
			c.want(t, fragment(0, payload)[:500])
		}
		begin := time.Now()
		g.signal(t, syscall.SIGTERM)
		eventually(t, patience, "the drain has begun", func() bool { return strings.Contains(g.log.String(), `"message":"draining"`) })

		rest := fragment(0, payload)[500:]
		last := fragment(0x80, payload)
		endsB.send(t, rest+last)
		ends.want(t, rest+last)
		ends.wantClose(t, 1012)
		neverB.send(t, rest)
		never.want(t, rest)
		never.wantClose(t, 1012)
		if took := time.Since(begin); took < time.Second {
			t.Errorf("the session in the middle of a message was closed after %v, want close_timeout", took)
		}
		if code := g.exitCode(t, time.Until(begin.Add(time.Second+slack))); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	})
}

// want reads exactly these bytes.
func (w *wire) want(t *testing.T, bytes string) {
	t.Helper()
	w.mayWait()
	got := make([]byte, len(bytes))
	if _, err := io.ReadFull(w.reader, got); err != nil || string(got) != bytes {
		t.Fatalf("got %.60q, %v; want %.60q", got, err, bytes)
	}
}
