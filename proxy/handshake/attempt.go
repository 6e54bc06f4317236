package handshake

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"sluice/balancer"
	"sluice/proxy/reach"
	"sluice/upgrade"
)

// An attempt is the handshake with one backend, and what the ones before it have left.
type attempt struct {
	pick      balancer.Pick       // held if hasPick
	until     time.Time           // of this attempt
	overall   time.Time           // of all of them
	tried     []*balancer.Backend // that have failed
	hasPick   bool
	isDialled bool // the backend is connected
	isUnsent  bool // nothing of the request has been sent to it

	answerSize int  // of the answer's head
	isAnswered bool // bytes of an answer may have been sent to the client
}

// Wanted returns what a pool may choose by.
func (c *Core) Wanted() balancer.Request {
	return balancer.Request{Client: c.Client.Addr.Addr(), Head: &c.Memory.Request}
}

// pickFirst picks a backend, if none has to be waited for.
func (c *Core) pickFirst(now time.Time) Step {
	want := c.Wanted()
	pick, err := c.Route.Pool.TryPick(&want)
	if errors.Is(err, balancer.ErrWait) {
		c.Deadline = time.Time{} // it waits for as long as the pool says
		return c.step(Pick)
	}
	return c.Picked(pick, err, now)
}

// Picked notes the pool's answer. The clock of handshake_timeout begins here.
func (c *Core) Picked(pick balancer.Pick, err error, now time.Time) Step {
	if err != nil {
		c.trace.step("pick", err, now)
		return c.refuse(reach.Unpicked(err))
	}
	c.overall = now.Add(c.Route.HandshakeTimeout)
	return c.begin(pick, now)
}

// begin begins the attempt with a backend that was picked.
func (c *Core) begin(pick balancer.Pick, now time.Time) Step {
	c.pick, c.hasPick, c.Asked = pick, true, pick.Backend
	c.trace.picked(pick.Backend.Name(), now)
	c.isDialled, c.isUnsent = false, true
	c.until = c.overall
	if pick.HasNext {
		// A backend that accepts and never answers leaves time for another one.
		c.until = now.Add(c.overall.Sub(now) / 2)
	}
	c.Deadline = earlier(c.until, now.Add(c.Route.ConnectTimeout))
	return c.step(Dial)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Backend returns the backend of the attempt under way.
func (c *Core) Backend() *balancer.Backend { return c.pick.Backend }

// Opening returns what a connection to the backend begins with, before TLS; nil: nothing.
func (c *Core) Opening() []byte {
	if _, isTLS := c.Backend().TLS(); isTLS && c.Route.SendsProxy {
		return c.Client.ProxyHeader()
	}
	return nil
}

// Dialing notes that a connection to the backend is under way: the first write shows whether it succeeds.
func (c *Core) Dialing() Step { return c.step(WriteBackend) }

// Connected notes that the backend is connected, or can't be.
func (c *Core) Connected(err error, now time.Time) Step {
	if err != nil {
		return c.failed(unsent(err), now)
	}
	c.connected(now)
	return c.step(WriteBackend)
}

func (c *Core) connected(now time.Time) {
	c.isDialled = true
	c.Deadline = c.until
	c.trace.step("dial", nil, now)
}

// Out returns what is to be written by WriteBackend or WriteClient, as slices that live until the next step.
func (c *Core) Out() [][]byte {
	if c.stage == WriteClient {
		return c.answerHead()
	}
	f := c.Client.Forward(c.Route)
	c.trace.addFields(&f)
	out := c.Memory.Out[:0]
	if _, isTLS := c.Backend().TLS(); c.Route.SendsProxy && !isTLS {
		out = append(out, c.Client.ProxyHeader())
	}
	c.Memory.Out = c.Memory.Request.AppendForward(out, &f)
	return c.Memory.Out
}

// answerHead returns the 101 as the client gets it.
func (c *Core) answerHead() [][]byte {
	var extra []upgrade.Field
	if c.pick.SetCookie != "" {
		extra = []upgrade.Field{{Name: "Set-Cookie", Value: c.pick.SetCookie}}
	}
	c.Memory.Out = c.Memory.Answer.AppendForward(c.Memory.Out[:0], extra)
	return c.Memory.Out
}

// Wrote notes that a part of the request has been sent.
func (c *Core) Wrote(now time.Time) {
	if !c.isDialled {
		c.connected(now)
	}
	c.isUnsent = false
}

// Sent notes the end of WriteBackend.
func (c *Core) Sent(err error, now time.Time) Step {
	if err != nil {
		if c.isUnsent {
			err = unsent(err)
		}
		return c.failed(err, now)
	}
	c.Wrote(now)
	c.Memory.FromBackend.Reset()
	c.Memory.Answer.Reset()
	return c.step(ReadBackend)
}

// Answered notes n bytes at the end of Memory.FromBackend, or what reading them led to.
func (c *Core) Answered(n int, err error, now time.Time) Step {
	buf, answer := &c.Memory.FromBackend, &c.Memory.Answer
	if n > 0 {
		size, err := answer.Parse(buf.Bytes())
		if err != nil {
			return c.failed(err, now)
		}
		if size > 0 {
			c.answerSize = size
			return c.checkAnswer(now)
		}
	}
	switch {
	case err == io.EOF:
		return c.failed(io.ErrUnexpectedEOF, now)
	case err != nil:
		return c.failed(err, now)
	default:
		return c.step(ReadBackend)
	}
}

// checkAnswer checks a whole answer: a 101 is the client's, and so is another status, unless the pool wants it to be tried elsewhere.
func (c *Core) checkAnswer(now time.Time) Step {
	answer := &c.Memory.Answer
	if err := answer.Check(&c.Memory.Request); err != nil {
		return c.failed(err, now)
	}
	status := answer.Status()
	if status == 101 {
		c.trace.step("answer", nil, now)
		c.isAnswered = true
		c.Deadline = c.until
		return c.step(WriteClient)
	}
	c.trace.step("answer", errStatus, now)
	if next, isNext := c.pickNext(balancer.Outcome(status), now); isNext {
		c.gateway.AttemptEnded(c, c.Backend(), errStatus)
		c.releasePick(balancer.Outcome(status))
		return c.begin(next, now)
	}
	c.Status = status
	c.isAnswered = true
	return c.step(Pass)
}

// errStatus says that the backend's answer is a right one that makes no session.
var errStatus = errors.New("answer other than 101")

// BehindAnswer returns what the backend has sent behind its head: frames, or the body's beginning.
func (c *Core) BehindAnswer() []byte { return c.Memory.FromBackend.Bytes()[c.answerSize:] }

// Accepted notes the end of WriteClient.
func (c *Core) Accepted(err error) Step {
	if err != nil {
		return c.ClientLost()
	}
	return c.step(Relay)
}

// Passed notes the end of Pass.
func (c *Core) Passed(err error) Step {
	c.releasePick(balancer.Outcome(c.Status))
	if err != nil {
		return c.drop(Torn)
	}
	c.Outcome = Passed
	return c.step(Drop)
}

// attemptDue ends an attempt whose time is over.
func (c *Core) attemptDue(now time.Time) Step {
	err := error(os.ErrDeadlineExceeded)
	if !c.isDialled {
		err = unsent(err)
	}
	return c.failed(err, now)
}

func unsent(err error) error {
	if reach.IsUnsent(err) {
		return err
	}
	return &reach.DialError{Err: err}
}

// failed ends an attempt: another backend is tried, or the client is told.
func (c *Core) failed(err error, now time.Time) Step {
	step := "answer"
	if !c.isDialled {
		step = "dial"
	}
	c.trace.step(step, err, now)
	outcome := reach.OutcomeOf(err)
	c.gateway.AttemptEnded(c, c.Backend(), err)
	next, isNext := c.pickNext(outcome, now)
	c.releasePick(outcome)
	switch {
	case isNext:
		return c.begin(next, now)
	case !now.Before(c.overall):
		return c.refuse(upgrade.ErrBackendTimeout)
	default:
		return c.refuse(reach.Rejection(err, outcome))
	}
}

// pickNext picks a backend for another attempt, after one with that outcome; false: there is none.
func (c *Core) pickNext(o balancer.Outcome, now time.Time) (next balancer.Pick, isNext bool) {
	c.tried = append(c.tried, c.Backend())
	if !now.Before(c.overall) || !c.Route.Pool.MayRetry(o, len(c.tried)) {
		return balancer.Pick{}, false
	}
	want := c.Wanted()
	next, err := c.Route.Pool.Pick(context.Background(), &want, c.tried) // a retry never waits
	if err != nil {
		c.trace.step("pick", err, now)
	}
	return next, err == nil
}

// releasePick gives the pick back, if there is one.
func (c *Core) releasePick(o balancer.Outcome) {
	if c.hasPick {
		c.hasPick = false
		c.pick.Backend.Release(o)
	}
}

// Establish ends the handshake as a session's: the pick and the places of the client are the session's from now on. Memory still holds the
// heads and the early frames.
func (c *Core) Establish() {
	c.Outcome, c.Status = Established, 101
	c.hasPick, c.hasPlaces, c.isEnded = false, false, true
	c.endTrace()
}
