package handshake

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"sluice/balancer"
	"sluice/upgrade"
)

// Each way in which an attempt ends, whether another backend is tried then, and the answer after the last attempt.
func TestTheEndOfAnAttemptDecidesTheNextStep(t *testing.T) {
	type ending struct {
		name    string
		end     func(c *script) // from Dial
		isTried bool            // another backend is tried
		want    *upgrade.Rejection
	}
	for _, e := range []ending{
		{"refused", func(c *script) { c.step = c.core.Connected(errRefused, c.now) }, true, upgrade.ErrDial},
		{"no descriptor", func(c *script) { c.step = c.core.Connected(syscall.EMFILE, c.now) }, true, upgrade.ErrDescriptors},
		{"not connected in time", func(c *script) { c.step = c.core.Due(c.now) }, true, upgrade.ErrBackendTimeout},
		{"the connection fails at the first write", func(c *script) {
			c.step = c.core.Dialing()
			c.step = c.core.Sent(errRefused, c.now)
		}, true, upgrade.ErrDial},
		{"it breaks inside the request", func(c *script) {
			c.step = c.core.Dialing()
			c.core.Wrote(c.now)
			c.step = c.core.Sent(syscall.ECONNRESET, c.now)
		}, true, upgrade.ErrBadAnswer},
		{"a reset instead of an answer", func(c *script) {
			c.asked()
			c.step = c.core.Answered(0, syscall.ECONNRESET, c.now)
		}, true, upgrade.ErrBadAnswer},
		{"the end instead of an answer", func(c *script) {
			c.asked()
			c.step = c.core.Answered(0, io.EOF, c.now)
		}, true, upgrade.ErrBadAnswer},
		{"the end inside the answer", func(c *script) {
			c.asked()
			c.backend("HTTP/1.1 101 Swi")
			c.step = c.core.Answered(0, io.EOF, c.now)
		}, false, upgrade.ErrBadAnswer},
		{"the end after an interim answer", func(c *script) {
			c.asked()
			c.backend(head("HTTP/1.1 103 Early Hints"))
			c.step = c.core.Answered(0, syscall.ECONNRESET, c.now)
		}, false, upgrade.ErrBadAnswer},
		// Faults B8.
		{"no answer in time", func(c *script) { c.asked(); c.step = c.core.Due(c.now) }, false, upgrade.ErrBackendTimeout},
		{"a read that times out", func(c *script) {
			c.asked()
			c.step = c.core.Answered(0, os.ErrDeadlineExceeded, c.now)
		}, false, upgrade.ErrBackendTimeout},
		{"not HTTP", func(c *script) { c.asked(); c.backend("SSH-2.0-OpenSSH\r\n\r\n") }, false, upgrade.ErrBadAnswer},
		{"a 101 with another Accept", func(c *script) {
			c.asked()
			c.backend(head("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: "+sampleKey))
		}, false, upgrade.ErrBadAnswer},
		{"a protocol that wasn't offered", func(c *script) { c.asked(); c.backend(switching("Sec-WebSocket-Protocol: chat")) }, false, upgrade.ErrBadAnswer},
	} {
		t.Run(e.name, func(t *testing.T) {
			each(t, setting{}, func(c *script) {
				c.client(asking("/chat"))
				first := c.core.Backend().Name()
				e.end(c)
				if !e.isTried {
					c.wantRefused(e.want)
					return
				}
				c.want("another backend is tried", Dial)
				if c.core.Backend().Name() == first {
					t.Errorf("%s is tried twice", first)
				}
				e.end(c)
				c.wantRefused(e.want)
				if len(c.gate.attempts) != 2 {
					t.Errorf("%d attempts have failed; want 2: %v", len(c.gate.attempts), c.gate.attempts)
				}
			})
		})
	}
}

// Faults B8.
func TestTheBeginningOfAnAnswerIsFinal(t *testing.T) {
	each(t, setting{pool: func(c *balancer.Config) { c.RetryOn = []string{"reset", "timeout"} }}, func(c *script) {
		c.client(asking("/chat"))
		c.asked()
		c.backend("HTTP/1.1 101 half an answer\r\nX: ")
		c.step = c.core.Due(c.now)
		c.wantRefused(upgrade.ErrBackendTimeout)
	})
}

// Faults B8.
func TestAnAttemptMayTakeAllTheTimeThatIsLeft(t *testing.T) {
	each(t, setting{}, func(c *script) {
		c.client(asking("/chat"))
		c.asked()
		if got := c.core.Deadline.Sub(c.now); got != 10*time.Second {
			t.Errorf("the answer is due in %v; want handshake_timeout", got)
		}
		c.step = c.core.ClientLost()
		c.wantOver("client_lost")
	})
}

func TestTheNextBackendsAnswerCounts(t *testing.T) {
	each(t, setting{pool: func(c *balancer.Config) { c.RetryStatuses = []int{503} }}, func(c *script) {
		c.client(asking("/chat"))
		c.asked()
		c.backend(head("HTTP/1.1 503 Busy", "Content-Length: 4") + "busy")
		c.asked()
		c.backend(switching())
		c.want("nothing of the first answer is left", WriteClient)
		c.step = c.core.ClientLost()
		c.wantOver("client_lost")
	})
}

func TestAnotherStatusPassesUnlessThePoolWantsARetry(t *testing.T) {
	retried := setting{pool: func(c *balancer.Config) { c.RetryStatuses = []int{503} }}
	busy := head("HTTP/1.1 503 Busy", "Content-Length: 4") + "busy"
	each(t, retried, func(c *script) {
		c.client(asking("/chat"))
		c.asked()
		c.backend(busy)
		c.want("another backend is tried", Dial)
		c.asked()
		c.backend(busy)
		c.want("the answer of the last backend passes", Pass)
		if string(c.core.AfterAnswer()) != "busy" && c.split(2) == 2 {
			t.Errorf("after the head of the answer comes %q; want its body", c.core.AfterAnswer())
		}
		c.step = c.core.Passed(nil)
		if c.step != Drop || c.core.Outcome != Passed || c.core.Status != 503 || c.core.IsTorn {
			t.Errorf("step %d, outcome %d, status %d, torn %t", c.step, c.core.Outcome, c.core.Status, c.core.IsTorn)
		}
		c.wantOver("status")
	})
	each(t, setting{}, func(c *script) {
		c.client(asking("/chat"))
		c.asked()
		c.backend(busy)
		c.want("the answer passes", Pass)
		c.step = c.core.Passed(errors.New("the client is gone"))
		if c.step != Drop || c.core.Outcome != Torn || !c.core.IsTorn {
			t.Errorf("step %d, outcome %d, torn %t; want a cut", c.step, c.core.Outcome, c.core.IsTorn)
		}
		c.wantOver("status")
	})
}

// The account of a failed attempt may block, and meanwhile the client may go: before an executor has taken the failure, or after.
func TestAFailedAttemptIsReleasedOnce(t *testing.T) {
	for name, isTaken := range map[string]bool{"not taken": false, "taken": true} {
		t.Run(name, func(t *testing.T) {
			each(t, setting{}, func(c *script) {
				c.client(asking("/chat"))
				c.asked()
				c.step = c.core.Answered(0, io.EOF, c.now)
				c.want("the attempt is to be accounted for", Account)
				var failed Failure
				if isTaken {
					failed = c.core.Failed()
				}
				c.step = c.core.ClientLost()
				if isTaken {
					failed.Account()
				}
				c.want("the client has gone", Drop)
				c.wantOver("client_lost")
			})
		})
	}
}
