package handshake

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/internal/recovery"
	"sluice/proxy/reach"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// A Step tells the executor what to do next. Each one names the methods to call afterwards.
type Step uint8

const (
	// ReadClient: read into Memory.FromClient.Free until Deadline; then ClientRead, or Due.
	ReadClient Step = iota
	// Challenge: answer the request if an ACME authority has sent it; may block. Then Served if it was answered, otherwise NoChallenge.
	Challenge
	// Plain: hand the connection over to the plain path. Then Next if a head comes that isn't for the plain path, or Served.
	Plain
	// Pick: pick a backend of Route.Pool for Wanted; may block. Then Picked.
	Pick
	// Dial: connect to Backend until Deadline; may block if the address is a name or the backend speaks TLS. Then Connected, or Dialing, or Due.
	Dial
	// WriteBackend: write Out until Deadline; then Sent, or Due. After the first bytes Wrote notes that the backend is connected.
	WriteBackend
	// ReadBackend: read into Memory.FromBackend.Free until Deadline; then Answered, or Due.
	ReadBackend
	// Account: call Account of Failed, which may block; then Accounted.
	Account
	// WriteClient: write Out until Deadline; then Accepted, or Due.
	WriteClient
	// Relay: make a session, which gets the connections, the pick and the places of the client: Establish.
	Relay
	// Pass: pass the backend's answer to the client, head and body; then Passed.
	Pass
	// Refuse: write Rejection to the client. Then End.
	Refuse
	// Drop: close the client's connection, so that it sees that its answer isn't complete, if IsTorn. Then End.
	Drop
)

// A Gateway is what a Core needs of the gateway around it, for one listener. Its methods don't block, except AttemptEnded and Ended.
type Gateway interface {
	// Name returns the name of the listener.
	Name() string
	// Tracer returns the tracer of handshakes, or nil.
	Tracer() Tracer
	// Identify completes a client with what the head of its request says. id is the request's.
	Identify(c *reach.Client, r *upgrade.Request, id uint64)
	// IsChallenge reports whether an ACME authority may have sent the request.
	IsChallenge(r *upgrade.Request) bool
	// IsPlain reports whether the request of a client is for the plain path.
	IsPlain(c *reach.Client, r *upgrade.Request) bool
	// Redirection returns the answer to a request that is redirected to https, or nil.
	Redirection(r *upgrade.Request) *upgrade.Rejection
	// Route returns the route of a client's request, or nil, and what refuses the request there, or nil.
	Route(c *reach.Client, r *upgrade.Request) (*route.Route, *upgrade.Rejection)
	// Refuses reports whether the gateway refuses new sessions.
	Refuses() bool
	// Counted counts a request of that client, and returns a rejection if it has had too many.
	Counted(client netip.Addr, now time.Time) *upgrade.Rejection
	// Acquire acquires the place of a session of that client. A nil result means that the Core has it until Release.
	Acquire(client netip.Addr) *upgrade.Rejection
	Release(client netip.Addr)
	// AttemptEnded notes an attempt of the handshake of that id that failed, and why. It may block on a slow log.
	AttemptEnded(id uint64, b *balancer.Backend, cause string)
	// Ended accounts for a handshake that made no session. It may block on a slow log.
	Ended(c *Core)
}

// A Core is one handshake. Owned by its executor, which may read the exported fields.
type Core struct {
	ID     uint64
	Start  time.Time
	Client reach.Client
	Memory *upgrade.Handshake
	Route  *route.Route      // nil until it is found
	Asked  *balancer.Backend // that was picked last, or nil
	Status int               // that the client got, or 0

	Deadline  time.Time          // of the current step; zero if it has none
	Rejection *upgrade.Rejection // for Refuse
	IsTorn    bool               // for Drop: a part of an answer may have been sent
	Outcome   Outcome

	gateway  Gateway
	trace    *traced
	stage    Step
	headSize int  // bytes of the client's head; early frames follow it in Memory.FromClient
	hasPlace bool // Acquire was called, and Release was not
	isEnded  bool

	attempt
}

// Begin starts a handshake whose head has to be complete by until. The Core uses memory until its end. If memory is nil, the executor sets
// Memory before it reads.
func (c *Core) Begin(g Gateway, client reach.Client, memory *upgrade.Handshake, start, until time.Time) Step {
	*c = Core{ID: rand.Uint64(), Start: start, Client: client, Memory: memory, Deadline: until, gateway: g}
	return c.step(ReadClient)
}

func (c *Core) step(s Step) Step {
	c.stage = s
	return s
}

// ClientRead notes n bytes at the end of Memory.FromClient, or the error of the read.
func (c *Core) ClientRead(n int, err error, now time.Time) Step {
	buf, req := &c.Memory.FromClient, &c.Memory.Request
	if len(buf.Bytes()) > 0 {
		size, parseErr := req.Parse(buf.Bytes())
		if parseErr != nil {
			return c.refuseHead(parseErr, now)
		}
		if size > 0 {
			c.headSize = size
			return c.classify(now)
		}
	}
	switch {
	case n > 0 || err == nil:
		return c.step(ReadClient)
	case netconn.IsTimeout(err):
		return c.Due(now)
	default:
		return c.ClientLost()
	}
}

// classify decides which path a request takes.
func (c *Core) classify(now time.Time) Step {
	recovery.Provoke("handshake", c.Memory.Request.Target())
	if c.gateway.IsChallenge(&c.Memory.Request) {
		return c.step(Challenge)
	}
	return c.NoChallenge(now)
}

// NoChallenge continues with a request that only looked like that of an ACME authority.
func (c *Core) NoChallenge(now time.Time) Step {
	if c.gateway.IsPlain(&c.Client, &c.Memory.Request) {
		return c.step(Plain)
	}
	return c.admitted(now)
}

// Next begins another handshake on a connection that has carried plain requests. memory has the beginning of its head.
func (c *Core) Next(memory *upgrade.Handshake, start, until, now time.Time) Step {
	c.ID, c.Start, c.Memory, c.Deadline = rand.Uint64(), start, memory, until
	return c.ClientRead(0, nil, now)
}

// Served ends a connection whose requests are all accounted for elsewhere. isTorn means that the last answer is incomplete.
func (c *Core) Served(isTorn bool) Step {
	c.Outcome, c.IsTorn = Served, isTorn
	return c.step(Drop)
}

// EarlyFrames returns what the client has sent after its head.
func (c *Core) EarlyFrames() []byte { return c.Memory.FromClient.Bytes()[c.headSize:] }

// Due notes that the deadline of the step has passed.
func (c *Core) Due(now time.Time) Step {
	switch c.stage {
	case ReadClient:
		if c.Memory != nil && len(c.Memory.FromClient.Bytes()) > 0 {
			return c.refuseHead(upgrade.ErrHeadTimeout, now)
		}
		return c.ClientLost()
	case Dial, WriteBackend, ReadBackend:
		return c.attemptDue(now)
	default:
		return c.ClientLost()
	}
}

// ClientLost ends a handshake whose client has gone.
func (c *Core) ClientLost() Step {
	c.releasePick(balancer.ClientFault)
	return c.drop(ClientLost)
}

// Abort ends a handshake after a panic of the gateway.
func (c *Core) Abort() Step { return c.Refuse(upgrade.ErrInternal) }

// Refuse ends a handshake for a reason that only the executor knows.
func (c *Core) Refuse(r *upgrade.Rejection) Step {
	c.releasePick(balancer.GatewayFault)
	return c.refuse(r)
}

// refuseHead refuses a head that does not say whose request it is: the peer's counts.
func (c *Core) refuseHead(err error, now time.Time) Step {
	if rejection := c.gateway.Counted(c.Client.Peer.Addr(), now); rejection != nil {
		err = rejection
	}
	return c.refuse(err)
}

// refuse ends a handshake with an answer by the gateway.
func (c *Core) refuse(err error) Step {
	c.Rejection = rejectionOf(err)
	if c.isAnswered {
		return c.drop(Refused)
	}
	c.Outcome, c.Status = Refused, c.Rejection.Status
	return c.step(Refuse)
}

func (c *Core) drop(o Outcome) Step {
	c.Outcome, c.IsTorn = o, c.isAnswered && o != ClientLost
	return c.step(Drop)
}
