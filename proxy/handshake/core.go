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

// A Step is what the executor does next. The method to call afterwards is named with it.
type Step uint8

const (
	// ReadClient: read into Memory.FromClient.Free until Deadline; then ClientRead, or Due.
	ReadClient Step = iota
	// Challenge: the request may be that of an ACME authority. May block. If the gateway answers it the connection ends with Served,
	// otherwise NoChallenge follows.
	Challenge
	// Plain: the request is not WebSocket, and the plain path owns the connection; then Next, if a head comes that isn't for it, or Served.
	Plain
	// Pick: pick a backend of Route.Pool for Wanted; may block. Then Picked.
	Pick
	// Dial: connect to Backend until Deadline; may block if the address is a name or the backend speaks TLS. Then Connected, or Dialing, or Due.
	Dial
	// WriteBackend: write Out until Deadline; then Sent, or Due. What was dialled is connected when the first bytes have gone (Wrote).
	WriteBackend
	// ReadBackend: read into Memory.FromBackend.Free until Deadline; then Answered, or Due.
	ReadBackend
	// WriteClient: write Out until Deadline; then Accepted, or Due.
	WriteClient
	// Relay: the connections become a session's, and so do the pick and the places of the client: Establish.
	Relay
	// Pass: pass the backend's answer to the client, head and body; then Passed.
	Pass
	// Refuse: write Rejection to the client. Then End.
	Refuse
	// Drop: close the client's connection; a reset if IsTorn. Then End.
	Drop
)

// A Gateway is what a Core asks of the gateway around it, for one listener. Its methods don't block, but for Ended.
type Gateway interface {
	// Name returns the listener's.
	Name() string
	// Tracer returns what follows handshakes; nil: nothing does.
	Tracer() Tracer
	// Identify completes a client by the head of its request, which has that id.
	Identify(c *reach.Client, r *upgrade.Request, id uint64)
	// IsChallenge reports whether the request may be that of an ACME authority.
	IsChallenge(r *upgrade.Request) bool
	// IsPlain reports whether the request is one for the plain path.
	IsPlain(r *upgrade.Request) bool
	// RedirectsHTTPS reports whether all requests are redirected.
	RedirectsHTTPS() bool
	// Route returns the route of a request; nil: there is none.
	Route(r *upgrade.Request) *route.Route
	// Refuses reports whether no session may begin any more.
	Refuses() bool
	// Acquire takes the places of a session of that client; nil: it has them until Release.
	Acquire(client netip.Addr, now time.Time) *upgrade.Rejection
	Release(client netip.Addr, now time.Time)
	// AttemptEnded is told of an attempt that failed with err.
	AttemptEnded(c *Core, b *balancer.Backend, err error)
	// Ended accounts for a handshake that made no session. It may block on a slow log.
	Ended(c *Core)
}

// A Core is one handshake. Owned by its executor; the fields are its to read.
type Core struct {
	ID     uint64
	Start  time.Time
	Client reach.Client
	Memory *upgrade.Handshake
	Route  *route.Route      // nil: not known yet
	Asked  *balancer.Backend // the one that was picked last; nil: none was
	Status int               // that the client got; 0: none yet

	Deadline  time.Time          // of the step
	Rejection *upgrade.Rejection // of Refuse
	IsTorn    bool               // with Drop: a part of an answer may have been sent
	Outcome   Outcome

	gateway   Gateway
	trace     *traced
	stage     Step
	headSize  int  // of the client's head; early frames are behind it in Memory.FromClient
	hasPlaces bool // of the session that it may become
	isEnded   bool

	attempt
}

// Begin starts a handshake, whose head has to be complete by until. memory is the core's until its end; nil: the executor sets Memory before
// it reads.
func (c *Core) Begin(g Gateway, client reach.Client, memory *upgrade.Handshake, start, until time.Time) Step {
	*c = Core{ID: rand.Uint64(), Start: start, Client: client, Memory: memory, Deadline: until, gateway: g}
	return c.step(ReadClient)
}

func (c *Core) step(s Step) Step {
	c.stage = s
	return s
}

// ClientRead notes n bytes at the end of Memory.FromClient, or what reading them led to.
func (c *Core) ClientRead(n int, err error, now time.Time) Step {
	buf, req := &c.Memory.FromClient, &c.Memory.Request
	if len(buf.Bytes()) > 0 {
		size, parseErr := req.Parse(buf.Bytes())
		if parseErr != nil {
			return c.refuse(parseErr)
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

// classify says what a request is.
func (c *Core) classify(now time.Time) Step {
	recovery.Provoke("handshake", c.Memory.Request.Target())
	if c.gateway.IsChallenge(&c.Memory.Request) {
		return c.step(Challenge)
	}
	return c.NoChallenge(now)
}

// NoChallenge continues with a request that only looked like an authority's.
func (c *Core) NoChallenge(now time.Time) Step {
	if c.gateway.IsPlain(&c.Memory.Request) {
		return c.step(Plain)
	}
	return c.admitted(now)
}

// Next begins the handshake of a head, of which a part is in Memory, on a connection that carried plain requests before.
func (c *Core) Next(memory *upgrade.Handshake, start, until, now time.Time) Step {
	c.ID, c.Start, c.Memory, c.Deadline = rand.Uint64(), start, memory, until
	return c.ClientRead(0, nil, now)
}

// Served ends a connection of which every request is accounted for elsewhere. isTorn: the last answer was broken off.
func (c *Core) Served(isTorn bool) Step {
	c.Outcome, c.IsTorn = Served, isTorn
	return c.step(Drop)
}

// EarlyFrames returns what the client has sent behind its head.
func (c *Core) EarlyFrames() []byte { return c.Memory.FromClient.Bytes()[c.headSize:] }

// Due tells that the step's deadline has passed.
func (c *Core) Due(now time.Time) Step {
	switch c.stage {
	case ReadClient:
		if c.Memory != nil && len(c.Memory.FromClient.Bytes()) > 0 {
			return c.refuse(upgrade.ErrHeadTimeout)
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

// Refuse ends a handshake for a reason of the executor's.
func (c *Core) Refuse(r *upgrade.Rejection) Step {
	c.releasePick(balancer.GatewayFault)
	return c.refuse(r)
}

// refuse ends a handshake with an answer of the gateway's own.
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
