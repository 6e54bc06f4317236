package balancer

import (
	"slices"
	"strconv"
)

// An Outcome is how the use of a backend ended, as Release is told. Values from 100 to 599 are the
// status of an answer other than 101, passed on as the end of the handshake.
type Outcome int

const (
	// Ended: the session stood and ended by a close of anyone's, or by the client's fault.
	Ended Outcome = iota
	// ClientFault: the client went away or broke a rule before the session stood. It says nothing
	// about the backend.
	ClientFault
	// GatewayFault: the gateway had no descriptor, port or memory for a connection. It says nothing
	// about the backend.
	GatewayFault
	// Shed: the session was closed since its owner was asked to (rebalance, drain of a backend).
	Shed
	// DialFailed: no connection, for another reason than the next two.
	DialFailed
	// Refused: nobody listens there.
	Refused
	// DialTimeout: no connection within connect_timeout.
	DialTimeout
	// HandshakeTimeout: connected, but no answer in time.
	HandshakeTimeout
	// HandshakeReset: the connection ended before its answer was whole.
	HandshakeReset
	// BadAnswer: not HTTP, or a 101 that RFC 6455 does not allow.
	BadAnswer
	// Lost: the session stood and the backend's side ended without a close, or broke a rule.
	Lost
)

// firstStatus is the least Outcome that is a status.
const firstStatus = 100

// A reason is the name of a failure in the counters of a backend.
type reason int

const (
	reasonDial reason = iota
	reasonRefused
	reasonDialTimeout
	reasonHandshakeTimeout
	reasonHandshakeReset
	reasonBadAnswer
	reasonStatus
	reasonLost
	reasonProbe
	reasonCount
)

// String returns the reason as metrics and the admin API spell it.
func (r reason) String() string {
	switch r {
	case reasonDial:
		return "dial"
	case reasonRefused:
		return "refused"
	case reasonDialTimeout:
		return "dial_timeout"
	case reasonHandshakeTimeout:
		return "handshake_timeout"
	case reasonHandshakeReset:
		return "handshake_reset"
	case reasonBadAnswer:
		return "bad_answer"
	case reasonStatus:
		return "status"
	case reasonLost:
		return "lost"
	case reasonProbe:
		return "probe"
	default:
		panic("BUG: reason " + strconv.Itoa(int(r)))
	}
}

// failure returns the reason under which o counts against the backend, or false if it doesn't.
// Statuses are those that count.
func (o Outcome) failure(statuses []int) (reason, bool) {
	if o >= firstStatus {
		return reasonStatus, slices.Contains(statuses, int(o))
	}
	switch o {
	case Ended, ClientFault, GatewayFault, Shed:
		return 0, false
	case DialFailed:
		return reasonDial, true
	case Refused:
		return reasonRefused, true
	case DialTimeout:
		return reasonDialTimeout, true
	case HandshakeTimeout:
		return reasonHandshakeTimeout, true
	case HandshakeReset:
		return reasonHandshakeReset, true
	case BadAnswer:
		return reasonBadAnswer, true
	case Lost:
		return reasonLost, true
	default:
		panic("BUG: outcome " + strconv.Itoa(int(o)))
	}
}

// isUnreachable reports whether r is what a dial says to an address that moved.
func (r reason) isUnreachable() bool {
	return r == reasonDial || r == reasonRefused || r == reasonDialTimeout
}
