package handshake

import (
	"errors"
	"io"
	"os"
	"time"

	"sluice/balancer"
	"sluice/proxy/reach"
	"sluice/upgrade"
)

// An attempt is the handshake with one backend, with what the next attempts need to know of it.
type attempt struct {
	pick     balancer.Pick       // held if hasPick
	failure  Failure             // of the last attempt that failed
	unpicked error               // of the pool, if there was no first attempt
	until    time.Time           // deadline of this attempt
	overall  time.Time           // deadline of all attempts
	tried    []*balancer.Backend // backends of failed attempts
	hasPick  bool
	isDialed bool // the backend is connected
	isUnsent bool // no byte of the request has been sent to it
	hasBegun bool // a part of its answer has come
	redials  int  // how often Redial has begun it again

	answerSize int  // bytes of the answer's head
	isAnswered bool // bytes of an answer may have been sent to the client
}

// Wanted returns what a pool may choose a backend by.
func (c *Core) Wanted() balancer.Request {
	return balancer.Request{Client: c.Client.Addr.Addr(), Head: &c.Memory.Request}
}

// pickFirst picks the first backend. If it would have to wait, the executor has to pick.
func (c *Core) pickFirst(now time.Time) Step {
	want := c.Wanted()
	pick, err := c.Route.Pool.TryPick(&want)
	if errors.Is(err, balancer.ErrWait) {
		c.Deadline = time.Time{} // the pool bounds the wait
		return c.step(Pick)
	}
	return c.Picked(pick, err, now)
}

// Picked notes the pool's answer. handshake_timeout begins here.
func (c *Core) Picked(pick balancer.Pick, err error, now time.Time) Step {
	if err != nil {
		c.trace.step("pick", err, now)
		c.unpicked = err
		return c.refuse(reach.Unpicked(err))
	}
	c.overall = now.Add(c.Route.HandshakeTimeout)
	return c.begin(pick, now)
}

// begin begins the attempt with a picked backend.
func (c *Core) begin(pick balancer.Pick, now time.Time) Step {
	c.pick, c.hasPick, c.Asked = pick, true, pick.Backend
	c.trace.picked(pick.Backend.Name(), now)
	c.isDialed, c.isUnsent, c.hasBegun, c.redials = false, true, false, 0
	c.until = c.overall
	if pick.LeavesTime {
		// A backend that accepts and never answers must leave time for another backend.
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

// Opening returns the bytes with which a connection to the backend begins before TLS, or nil.
func (c *Core) Opening() []byte {
	if _, isTLS := c.Backend().TLS(); isTLS && c.Route.SendsProxy {
		return c.Client.ProxyHeader()
	}
	return nil
}

// Dialing notes that a connection to the backend is under way: the first write shows whether it succeeds.
func (c *Core) Dialing() Step { return c.step(WriteBackend) }

// maxRedials bounds how often a request goes to the same backend once more.
const maxRedials = 2

// Redial begins the attempt again with the same backend, which has refused the request unread on a connection that others share. isNext is
// false if that has happened too often: then the attempt has failed.
func (c *Core) Redial(now time.Time) (next Step, isNext bool) {
	if c.redials == maxRedials {
		return 0, false
	}
	c.redials++
	c.isDialed, c.isUnsent, c.hasBegun = false, true, false
	c.Deadline = earlier(c.until, now.Add(c.Route.ConnectTimeout))
	return c.step(Dial), true
}

// Connected notes that the backend is connected, or with an error that it can't be.
func (c *Core) Connected(err error, now time.Time) Step {
	if err != nil {
		return c.failed(unsent(err), now)
	}
	c.connected(now)
	return c.step(WriteBackend)
}

func (c *Core) connected(now time.Time) {
	c.isDialed = true
	c.Deadline = c.until
	c.trace.step("dial", nil, now)
}

// Out returns the bytes for WriteBackend or WriteClient, and for Pass the head, as slices that are valid until the next step.
func (c *Core) Out() [][]byte {
	if c.stage == WriteClient || c.stage == Pass {
		return c.answerHead()
	}
	f := c.Client.Forward(c.Route, &c.Memory.Request, c.Backend())
	c.trace.addFields(&f)
	out := c.Memory.Out[:0]
	if _, isTLS := c.Backend().TLS(); c.Route.SendsProxy && !isTLS {
		out = append(out, c.Client.ProxyHeader())
	}
	c.Memory.Out = c.Memory.Request.AppendForward(out, &f)
	return c.Memory.Out
}

// answerHead returns the head of the backend's answer for the client.
func (c *Core) answerHead() [][]byte {
	change := c.Client.Answer(c.Route, &c.Memory.Request, c.Backend(), c.pick.SetCookie)
	c.Memory.Out = c.Memory.Answer.AppendForward(c.Memory.Out[:0], &change)
	return c.Memory.Out
}

// Wrote notes that a part of the request has been sent.
func (c *Core) Wrote(now time.Time) {
	if !c.isDialed {
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

// Answered notes n bytes at the end of Memory.FromBackend, or the error of the read.
func (c *Core) Answered(n int, err error, now time.Time) Step {
	buf, answer := &c.Memory.FromBackend, &c.Memory.Answer
	if n > 0 {
		c.hasBegun = true
		size, err := answer.Parse(buf.Bytes())
		if err != nil {
			return c.failed(err, now)
		}
		if size > 0 {
			c.answerSize = size
			return c.checkAnswer(now)
		}
	}
	if err == nil {
		return c.step(ReadBackend)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if c.hasBegun {
		err = &reach.AnswerError{Err: err}
	}
	return c.failed(err, now)
}

// checkAnswer checks the head of an answer. The client gets a 101, and any other status for which the pool wants no retry.
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
	failure := c.failureOf(errStatus, balancer.Outcome(status))
	if next, isNext := c.pickNext(failure.outcome, now); isNext {
		c.failure, c.pick = failure, next
		return c.step(Account)
	}
	c.Status = status
	if c.Client.IsHTTP2 && status < 300 {
		c.Status = 502 // the client's stream makes it that, since a 2xx would open a session there
	}
	c.isAnswered = true
	return c.step(Pass)
}

// errStatus means that the backend's answer is valid, but makes no session.
var errStatus = errors.New("answer other than 101")

// AfterAnswer returns what the backend has sent after the head of its answer: frames, or the beginning of the body.
func (c *Core) AfterAnswer() []byte { return c.Memory.FromBackend.Bytes()[c.answerSize:] }

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

// attemptDue ends an attempt whose deadline has passed.
func (c *Core) attemptDue(now time.Time) Step {
	err := error(os.ErrDeadlineExceeded)
	switch {
	case !c.isDialed:
		err = unsent(err)
	case c.hasBegun:
		err = &reach.AnswerError{Err: err}
	}
	return c.failed(err, now)
}

func unsent(err error) error {
	if reach.IsUnsent(err) {
		return err
	}
	return &reach.DialError{Err: err}
}

// failed ends an attempt: the Core tries another backend, or refuses the request.
func (c *Core) failed(err error, now time.Time) Step {
	step := "answer"
	if !c.isDialed {
		step = "dial"
	}
	c.trace.step(step, err, now)
	c.failure = c.failureOf(err, reach.OutcomeOf(err))
	c.pick, c.hasPick = c.pickNext(c.failure.outcome, now)
	return c.step(Account)
}

// A Failure is an attempt that has failed, with its pick, which is to be released.
type Failure struct {
	gateway Gateway
	id      uint64            // of the handshake
	backend *balancer.Backend // nil if it is released, or another Failure is to release it
	err     error
	outcome balancer.Outcome
}

// failureOf returns the failure of the attempt under way.
func (c *Core) failureOf(err error, o balancer.Outcome) Failure {
	return Failure{gateway: c.gateway, id: c.ID, backend: c.Backend(), err: err, outcome: o}
}

// Failed returns the attempt that has failed, for Account. The caller must call its Account, even after the end of the handshake.
func (c *Core) Failed() Failure {
	f := c.failure
	c.failure.backend = nil
	return f
}

// Account accounts for the failed attempt, and releases its pick. It may block on a slow log. It doesn't use the Core.
func (f *Failure) Account() {
	cause := reach.Cause(f.err, f.outcome)
	defer f.backend.ReleaseFailed(f.outcome, cause)
	f.gateway.AttemptEnded(f.id, f.backend, cause)
}

// Cause returns why the request got no answer of a backend, in words for an operator; "" if it wasn't refused for that.
func (c *Core) Cause() string {
	switch {
	case c.Outcome != Refused:
		return ""
	case c.failure.err != nil:
		return reach.Cause(c.failure.err, c.failure.outcome)
	case c.unpicked != nil:
		return c.unpicked.Error()
	default:
		return ""
	}
}

// Accounted continues after the account of a failed attempt: with the next backend, or with a refusal.
func (c *Core) Accounted(now time.Time) Step {
	switch {
	case c.hasPick:
		return c.begin(c.pick, now)
	case !now.Before(c.overall):
		return c.refuse(upgrade.ErrBackendTimeout)
	default:
		return c.refuse(reach.Rejection(c.failure.err, c.failure.outcome))
	}
}

// pickNext picks a backend for another attempt after one with that outcome. It returns false if there is to be none.
func (c *Core) pickNext(o balancer.Outcome, now time.Time) (next balancer.Pick, isNext bool) {
	c.tried = append(c.tried, c.Backend())
	if !now.Before(c.overall) {
		return balancer.Pick{}, false
	}
	want := c.Wanted()
	next, isNext, err := reach.NextBackend(c.Route.Pool, &want, c.tried, o)
	if err != nil {
		c.trace.step("pick", err, now)
	}
	return next, isNext
}

// releasePick releases the pick, if there is one, and that of a failed attempt for which Failed was not called.
func (c *Core) releasePick(o balancer.Outcome) {
	if failed := c.Failed().backend; failed != nil {
		failed.Release(balancer.GatewayFault)
	}
	if c.hasPick {
		c.hasPick = false
		c.pick.Backend.Release(o)
	}
}

// Establish ends the handshake with a session: from now on the session has the pick and the place of the client. Memory still has the heads
// and the early frames.
func (c *Core) Establish() {
	c.Outcome, c.Status = Established, 101
	if c.Client.IsHTTP2 {
		c.Status = 200
	}
	c.hasPick, c.hasPlace, c.isEnded = false, false, true
	c.endTrace()
}
