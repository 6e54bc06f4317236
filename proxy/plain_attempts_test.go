package proxy

import (
	"testing"
	"time"

	"go.uber.org/zap"
)

// Attempts that fail are told at level debug, as those of handshakes are.
func TestAFailedAttemptOfAPlainRequestIsLogged(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend, busy := listenRaw(t), listenRaw(t)
		closed := closedAddress(t)
		s := newSetup(driver, closed, busy.Addr().String()).withBackup(backend)
		s.Pools[0].RetryStatuses = []int{503}
		g := s.run(t)
		for range 2 { // round robin begins anywhere
			c := g.dial(t)
			c.send(t, getting("/"))
			busy.accept(t).send(t, head("HTTP/1.1 503 Busy", "Content-Length: 0", "Connection: close"))
			backend.accept(t).send(t, answering("end", "Connection: close"))
			c.wantBody(t, 200, "end")
		}
		causes := map[string]int{}
		for _, line := range g.log.FilterMessage("request to a backend ended").FilterField(zap.String("backend", busy.Addr().String())).All() {
			causes[line.ContextMap()["error"].(string)]++
		}
		if causes["status 503"] != 2 {
			t.Errorf("the log tells %v of the backend that is busy", causes)
		}
		if n := g.log.FilterMessage("request to a backend ended").FilterField(zap.String("backend", closed)).Len(); n == 0 {
			t.Error("the log tells nothing of the backend that refuses")
		}
	})
}

// handshake_timeout bounds all attempts.
func TestAttemptsOfAPlainRequestEndWithHandshakeTimeout(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		silent, idle := listenRaw(t), listenRaw(t)
		s := newSetup(driver, "wss://"+silent.Addr().String()).withBackup(idle) // it connects, and never answers the TLS handshake
		s.Routes[0].ConnectTimeout, s.Routes[0].HandshakeTimeout = milliseconds(3_600_000), milliseconds(300)
		g := s.run(t)
		c := g.dial(t)
		begun := time.Now()
		c.send(t, getting("/"))
		c.wantRefusal(t, 504, "in time")
		if d := time.Since(begun); d < 300*time.Millisecond {
			t.Errorf("the attempt ends after %v", d)
		}
		idle.wantNoConnection(t)
		g.wantIdle(t)
	})
}
