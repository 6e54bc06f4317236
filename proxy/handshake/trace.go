package handshake

import (
	"errors"
	"slices"
	"time"

	"sluice/proxy/reach"
	"sluice/upgrade"
)

// A Tracer records handshakes, to show where their time goes. Any goroutine may call its methods.
type Tracer interface {
	// Begin begins the trace of a handshake that was accepted at start, and that continues a trace of its client.
	Begin(start time.Time, parent TraceParent) Trace
}

// A TraceParent is the client's fields of W3C Trace Context. If they are not well-formed, the handshake begins a new trace.
type TraceParent struct {
	Parent, State string // traceparent and tracestate
	// IsTrusted means that the client is a trusted proxy, which may decide that the trace is recorded.
	IsTrusted bool
}

// A Trace is the trace of one handshake. One goroutine at a time calls its methods, which don't block.
type Trace interface {
	// Fields returns the fields that the backend gets. An empty tracestate isn't sent.
	Fields() (traceparent, tracestate string)
	// IsRecorded reports whether Step and End have an effect. A handshake that isn't recorded still continues its client's trace.
	IsRecorded() bool
	// Step notes a part of the handshake that has ended.
	Step(TraceStep)
	// End ends the trace.
	End(TraceEnd)
}

// A TraceStep is a part of a handshake: accept (up to the end of the client's head), route, pick, dial or answer (of a backend). The
// last three come once for each backend that is tried.
type TraceStep struct {
	Name       string
	Start, End time.Time
	Backend    string // "" if none is picked
	Err        error  // why the handshake or its attempt with this backend ends here, or nil
}

// A TraceEnd is how a handshake ended.
type TraceEnd struct {
	Session, Listener, Route, Pool string
	Client                         string
	HTTP                           string // version that the client speaks: "1.1" or "2"
	Status                         int    // that the client got, or 0
	Err                            error  // nil if the handshake made a session
}

// traced is the trace of a handshake. It is nil if the handshake isn't traced.
type traced struct {
	trace    Trace
	since    time.Time // end of the last step
	backend  string
	hasState bool // the client has sent a tracestate, maybe an empty one
}

// follow begins a trace when the head is complete.
func (c *Core) follow(t Tracer) {
	req := &c.Memory.Request
	// With two traceparent fields no one can know which is meant, so neither counts.
	parent, count := "", 0
	for value := range req.Backward("traceparent") {
		parent = string(value)
		count++
	}
	if count > 1 {
		parent = ""
	}
	state := req.Header("tracestate")
	c.trace = &traced{
		trace:    t.Begin(c.Start, TraceParent{Parent: parent, State: string(state), IsTrusted: c.Client.IsTrusted}),
		since:    c.Start,
		hasState: state != nil,
	}
}

// step notes a step of the handshake that ends now.
func (t *traced) step(name string, err error, now time.Time) {
	if t == nil || !t.trace.IsRecorded() {
		return
	}
	t.trace.Step(TraceStep{Name: name, Start: t.since, End: now, Backend: t.backend, Err: err})
	t.since = now
	if err != nil {
		t.backend = "" // the next steps are those of another backend
	}
}

// picked notes the backend of the steps that follow.
func (t *traced) picked(name string, now time.Time) {
	if t != nil {
		t.backend = name
		t.step("pick", nil, now)
	}
}

// addFields makes the backend part of the trace.
func (t *traced) addFields(to *upgrade.Forward) {
	if t == nil {
		return
	}
	parent, state := t.trace.Fields()
	to.SetHeaders = append(slices.Clip(to.SetHeaders), upgrade.Field{Name: "traceparent", Value: parent})
	if state != "" {
		to.SetHeaders = append(to.SetHeaders, upgrade.Field{Name: "tracestate", Value: state})
	} else if t.hasState {
		to.RemoveHeaders = append(slices.Clip(to.RemoveHeaders), "tracestate")
	}
}

// errClientLost and errTorn are the errors of these outcomes in a trace.
var (
	errClientLost = errors.New("client lost")
	errTorn       = errors.New("answer torn")
)

// endTrace ends the trace.
func (c *Core) endTrace() {
	if c.trace == nil || !c.trace.trace.IsRecorded() {
		return
	}
	end := TraceEnd{Session: reach.FormatID(c.ID), Listener: c.gateway.Name(), Client: reach.FormatClient(c.Client.Addr),
		HTTP: reach.HTTPVersion(c.Client.IsHTTP2), Status: c.Status}
	if c.Route != nil {
		end.Route, end.Pool = c.Route.Name, c.Route.PoolName
	}
	switch c.Outcome {
	case Refused:
		end.Err = c.Rejection
	case Passed:
		end.Err = errStatus
	case Torn:
		end.Err = errTorn
	case ClientLost:
		end.Err = errClientLost
	}
	c.trace.trace.End(end)
	c.trace = nil
}
