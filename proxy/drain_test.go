package proxy

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// shutDown begins a Shutdown; done is closed when it has returned.
func (g *gateway) shutDown(ctx context.Context, delay, drain time.Duration) (done <-chan struct{}) {
	c := make(chan struct{})
	go func() {
		defer close(c)
		g.Shutdown(ctx, delay, drain)
	}()
	return c
}

func wantDone(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%v went by without: %s", patience, what)
	}
}

func TestADrainSpreadsTheClosesOfLiveSessions(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		const count, drain = 20, time.Second
		var mu sync.Mutex
		var closedAt []time.Time
		var ends sync.WaitGroup
		for range count {
			c, b := g.open(t, backend)
			for _, w := range []*wire{c, b} {
				ends.Go(func() {
					f, err := w.readFrame()
					if err != nil || f.Header.OpCode != ws.OpClose {
						t.Errorf("%v, %v; want a close", f, err)
						return
					}
					if code, _ := ws.ParseCloseFrameData(f.Payload); code != 1012 {
						t.Errorf("close code %d, want 1012", code)
					}
					if w.isClient {
						mu.Lock()
						closedAt = append(closedAt, time.Now())
						mu.Unlock()
					}
					_, _ = w.Write([]byte(w.closing(1012)))
				})
			}
		}
		start := time.Now()
		done := g.shutDown(t.Context(), 0, drain)
		ends.Wait()
		wantDone(t, done, "the end of Shutdown")
		var at []time.Duration
		for _, when := range closedAt {
			at = append(at, when.Sub(start))
		}
		// Evenly: in each quarter of the time about a quarter of the sessions.
		for i, quarter := 0, drain/4; i < 4; i++ {
			n := 0
			for _, d := range at {
				if d >= time.Duration(i)*quarter && d < time.Duration(i+1)*quarter {
					n++
				}
			}
			if n < count/4-3 || n > count/4+3 {
				t.Errorf("%d of %d sessions are closed in quarter %d: %v", n, count, i+1, at)
			}
		}
		g.lines(t, count)
		if n := g.metric(t, "sluice_closes_total", "initiator=gateway", "code=1012"); n != count {
			t.Errorf("%v closes counted", n)
		}
	})
}

func TestNewSessionsAreAcceptedDuringTheDelayAndRefusedAfterIt(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		ctx, second := context.WithCancel(t.Context())
		late := [2]*wire{g.dial(t), g.dial(t)} // their heads are complete after the delay
		for _, c := range late {
			c.send(t, "GET ")
		}
		live, b := g.open(t, backend)
		done := g.shutDown(ctx, 500*time.Millisecond, time.Minute)
		eventually(t, "not ready", g.IsDraining)
		g.open(t, backend) // a balancer in front may not have noticed yet
		eventually(t, "sessions refused", g.refuses.Load)
		eventually(t, "listeners closed", func() bool {
			c, err := dialTry(g)
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		})
		late[0].send(t, asking("/")[4:])
		late[0].wantRefusal(t, 503, "shutting down")
		late[1].send(t, getting("/")[4:])
		late[1].wantRefusal(t, 503, "shutting down")
		wantLive(t, live, b)

		second() // as a second signal does
		wantDone(t, done, "the end of Shutdown")
		live.wantGone(t)
		b.wantGone(t)
	})
}

// Faults B16.
func TestADrainWaitsForAClientThatHasYetToTakeWhatIsQueued(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].CloseTimeout = milliseconds(1000)
		g := s.run(t)
		c, b := g.open(t, backend)
		message := string(ws.MustCompileFrame(ws.NewBinaryFrame(make([]byte, 4000))))
		go func() {
			for {
				if _, err := b.Write([]byte(message)); err != nil {
					return
				}
			}
		}()
		eventually(t, "much waits for the client", func() bool { return g.driver.QueuedBytes() > 100_000 })
		done := g.shutDown(t.Context(), 0, 0)
		time.Sleep(time.Second + 2*lastWords)
		for n := 0; ; n++ {
			f, err := c.readFrame()
			if err != nil {
				t.Fatalf("after %d messages: %v; want a close", n, err)
			}
			if f.Header.OpCode == ws.OpClose {
				if code, _ := ws.ParseCloseFrameData(f.Payload); code != 1012 || n*4000 < 100_000 {
					t.Errorf("close code %d after %d messages", code, n)
				}
				break
			}
		}
		c.send(t, c.closing(1012))
		wantDone(t, done, "the end of Shutdown")
	})
}

func TestADrainLetsPlainRequestsUnderWayEnd(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		idle := g.dial(t)
		idle.send(t, getting("/"))
		b := backend.accept(t)
		b.send(t, answering("1"))
		idle.wantBody(t, 200, "1")
		busy := g.dial(t)
		busy.send(t, getting("/"))
		b.readHead(t)
		done := g.shutDown(t.Context(), 0, 0)
		idle.wantEnd(t)
		b.send(t, answering("2"))
		if response := busy.wantBody(t, 200, "2"); !response.Close {
			t.Error("the answer doesn't announce the end of the connection")
		}
		busy.wantEnd(t)
		wantDone(t, done, "the end of Shutdown")
		g.lines(t, 2)
	})
}

// A request that never ends delays the stop by drain and close_timeout at most.
func TestAStreamOfEventsIsCutAtTheEndOfADrain(t *testing.T) {
	withFronts(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].CloseTimeout = milliseconds(100)
		g := s.run(t)
		c := g.dial(t)
		c.send(t, getting("/"))
		b := backend.accept(t)
		b.send(t, head("HTTP/1.1 200 OK", "Content-Type: text/event-stream"))
		c.answer(t)
		wantDone(t, g.shutDown(t.Context(), 0, 100*time.Millisecond), "the end of Shutdown")
		c.wantGone(t)
		b.wantGone(t)
	})
}

func TestCloseCutsEverythingUnderWay(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		live, _ := g.open(t, backend)
		head := g.dial(t)
		head.send(t, "GET ")
		dialled := g.dial(t)
		dialled.send(t, asking("/"))
		backend.accept(t)
		served := g.dial(t)
		served.send(t, getting("/"))
		backend.accept(t)
		g.Close()
		for _, c := range []*wire{live, head, dialled, served} {
			c.wantGone(t)
		}
		g.Close() // does nothing
	})
}
