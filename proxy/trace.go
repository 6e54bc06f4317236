package proxy

import (
	"errors"
	"slices"
	"time"

	"sluice/proxy/reach"
	"sluice/upgrade"
)

// A Tracer follows handshakes, for who wants to see where their time goes. Its methods are called by any goroutine.
type Tracer interface {
	// Begin begins the trace of a handshake that was accepted at start. traceparent and tracestate are the client's, as W3C Trace
	// Context has them; what isn't well-formed begins a trace of its own.
	Begin(start time.Time, traceparent, tracestate string) Trace
}

// A Trace is that of one handshake. Its methods are called by one goroutine and don't block.
type Trace interface {
	// Fields returns what the backend is told of the trace; an empty tracestate isn't sent.
	Fields() (traceparent, tracestate string)
	// Step notes a part of the handshake that is over.
	Step(TraceStep)
	// End ends the trace.
	End(TraceEnd)
}

// A TraceStep is a part of a handshake: accept (up to the end of the client's head), route, pick, dial or answer (of a backend). The
// last three come once for each backend that is tried.
type TraceStep struct {
	Name       string
	Start, End time.Time
	Backend    string // empty: none is picked
	Err        error  // why the handshake, or its attempt with this backend, ends here
}

// A TraceEnd is what became of a handshake.
type TraceEnd struct {
	Session, Listener, Route, Pool string
	Client                         string
	Status                         int   // that the client got; 0: nothing
	Err                            error // nil: it is a session
}

// A followed handshake has a trace. nil: it has none, which costs nothing.
type followed struct {
	trace   Trace
	since   time.Time // the end of the step before
	backend string
}

// follow begins a trace, once the head is known.
func (h *handshake) follow() {
	if h.proxy.tracer == nil {
		return
	}
	req := &h.memory.Request
	// Two of them are none: nobody knows which one is meant.
	parent, count := "", 0
	for value := range req.Backward("traceparent") {
		parent = string(value)
		count++
	}
	if count > 1 {
		parent = ""
	}
	h.followed = &followed{trace: h.proxy.tracer.Begin(h.start, parent, string(req.Header("tracestate"))), since: h.start}
	h.followed.step("accept", nil)
}

// step notes a part of the handshake that ends now.
func (f *followed) step(name string, err error) {
	if f == nil {
		return
	}
	if errors.Is(err, errAnswered) {
		err = nil // the backend's answer is no 101, and the client has it
	}
	now := time.Now()
	f.trace.Step(TraceStep{Name: name, Start: f.since, End: now, Backend: f.backend, Err: err})
	f.since = now
	if err != nil {
		f.backend = "" // what follows is about another one
	}
}

// picked notes the backend of the steps that follow.
func (f *followed) picked(name string) {
	if f != nil {
		f.backend = name
		f.step("pick", nil)
	}
}

// traceEnded ends the trace.
func (h *handshake) traceEnded(err error) {
	if h.followed == nil {
		return
	}
	end := TraceEnd{Session: reach.FormatID(h.id), Listener: h.listener.name, Client: reach.FormatClient(h.from.Addr), Status: h.status, Err: err}
	if h.route != nil {
		end.Route, end.Pool = h.route.Name, h.route.PoolName
	}
	if err == nil {
		end.Status = 101
	}
	h.followed.trace.End(end)
}

// addFields makes the backend part of the trace.
func (f *followed) addFields(to *upgrade.Forward) {
	if f == nil {
		return
	}
	parent, state := f.trace.Fields()
	to.SetHeaders = append(slices.Clip(to.SetHeaders), upgrade.Field{Name: "traceparent", Value: parent})
	if state != "" {
		to.SetHeaders = append(to.SetHeaders, upgrade.Field{Name: "tracestate", Value: state})
	} else {
		to.RemoveHeaders = append(slices.Clip(to.RemoveHeaders), "tracestate")
	}
}
