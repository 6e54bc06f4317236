package relay

import (
	"cmp"
	"time"
)

// Initiator is the party that ended a session.
type Initiator uint8

const (
	ByClient Initiator = iota
	ByBackend
	Gateway
)

func initiatorOf(s Side) Initiator { return Initiator(s) }

// String returns the label of sluice_closes_total{initiator}.
func (i Initiator) String() string { return [...]string{"client", "backend", "gateway"}[i] }

// Reason is why a session ended.
type Reason uint8

const (
	_                  Reason = iota
	ReasonClose               // a close frame
	ReasonFault               // a rule of the protocol was broken
	ReasonLost                // end of stream without a close
	ReasonEOF                 // the same of a backend that had sent data, after a whole message and with nothing left to send to it
	ReasonReset               // the connection failed
	ReasonPingRefused         // the backend ended at the first ping
	ReasonPongTimeout         // no byte came within pong_timeout
	ReasonWriteTimeout        // the side accepted no byte for write_timeout
	ReasonFrameTimeout        // a frame stood still for write_timeout
	ReasonIdle                // no data for idle_timeout
	ReasonDrain               // the gateway stops
	ReasonBackendDrain        // the backend is drained
	ReasonRebalance           // the backend has more than its share
	ReasonRemoved             // the route or the pool was removed from the configuration
	ReasonOperator            // closed through the admin API
	ReasonInternal            // a fault of the gateway's own
	numReasons
)

// reasons gives each reason its name in the access log and the API, its label in metrics where that differs, and the text of the close
// frame where the gateway makes one.
var reasons = [numReasons]struct{ name, label, text string }{
	ReasonClose:        {name: "close", label: "closed"},
	ReasonFault:        {name: "protocol_error"},
	ReasonLost:         {name: "lost"},
	ReasonEOF:          {name: "eof"},
	ReasonReset:        {name: "reset"},
	ReasonPingRefused:  {name: "ping_refused"},
	ReasonPongTimeout:  {name: "pong_timeout", label: "ping_timeout"},
	ReasonWriteTimeout: {name: "write_timeout"},
	ReasonFrameTimeout: {name: "frame_timeout"},
	ReasonIdle:         {name: "idle_timeout", label: "idle", text: "idle for too long"},
	ReasonDrain:        {name: "drain", text: "gateway is stopping, reconnect"},
	ReasonBackendDrain: {name: "backend_drain", text: "backend is drained, reconnect"},
	ReasonRebalance:    {name: "rebalance", text: "rebalancing, reconnect"},
	ReasonRemoved:      {name: "removed", text: "service moved, reconnect"},
	ReasonOperator:     {name: "operator", text: "closed by the operator"},
	ReasonInternal:     {name: "internal_error", text: "internal error of the gateway"},
}

// String returns the reason's name in the access log and the API.
func (r Reason) String() string { return reasons[r].name }

// Label returns the label of sluice_closes_total{reason}.
func (r Reason) Label() string { return cmp.Or(reasons[r].label, reasons[r].name) }

// Text returns the reason in the close frame to a peer.
func (r Reason) Text() string { return reasons[r].text }

// Verdict is how a session ended: the first thing that made it end.
type Verdict struct {
	Initiator Initiator
	Code      uint16 // the close code on the wire; 0: a close without a code or, if Reason isn't ReasonClose, none
	Reason    Reason
	Rule      Rule // with ReasonFault
	Side      Side // the offender of a fault, the side that was lost
}

// Verdict returns how the session ends; Reason is 0 if nothing has ended it yet.
func (s *Session) Verdict() Verdict { return s.verdict }

// judge notes why the session ends; only the first cause counts.
func (s *Session) judge(now Instant, v Verdict) {
	if s.verdict.Reason == 0 {
		if s.refusesPings(now, v) {
			v.Reason = ReasonPingRefused
		}
		s.verdict = v
		s.judgedAt = uint32((now + Instant(time.Second) - 1) / Instant(time.Second))
	}
}
