package balancer

import (
	"slices"
	"strconv"
)

// An Outcome is how the use of a place of a backend ended. Values from 100 to 599 are the status of an
// answer other than 101, which was passed on and ended the handshake.
type Outcome int

const (
	// Ended: the session was established and ended by a close of any side, or by an error of the client.
	Ended Outcome = iota
	// ClientFault: the client went away or broke a rule before the session was established. It says
	// nothing about the backend.
	ClientFault
	// GatewayFault: the gateway had no descriptor, port or memory for a connection. It says nothing
	// about the backend.
	GatewayFault
	// Shed: the session was closed by a rebalance or by the drain of its backend.
	Shed
	// NoStream: the connections to the backend carry as many sessions as they may, over HTTP/2. It says nothing about the backend.
	NoStream
	// DialFailed: no connection, for a reason other than the next five.
	DialFailed
	// NameFailed: the name of the address could not be resolved.
	NameFailed
	// NoSocket: the Unix socket does not exist.
	NoSocket
	// TLSFailed: connected, but the TLS handshake failed.
	TLSFailed
	// Refused: the address refused the connection.
	Refused
	// DialTimeout: no connection within connect_timeout.
	DialTimeout
	// HandshakeTimeout: connected, but no answer in time.
	HandshakeTimeout
	// HandshakeReset: the connection ended before a byte of the answer came.
	HandshakeReset
	// BadAnswer: not HTTP, a head that breaks off, or a 101 that RFC 6455 does not allow.
	BadAnswer
	// Lost: the session was established, and the backend ended it without a close or broke a rule.
	Lost
	// StreamEnded: the session was established, and the backend ended its stream without a close, but after a whole message and with
	// nothing left to send to it. That is how a process for each session ends, and how the sessions of one that is stopped end: it counts
	// as Lost if another session of the backend was lost, or ended so, within a second.
	StreamEnded
)

// firstStatus is the lowest Outcome that is a status.
const firstStatus = 100

// A reason is the name of a failure in the counters of a backend.
type reason int

const (
	reasonDial reason = iota
	reasonName
	reasonNoSocket
	reasonTLS
	reasonRefused
	reasonDialTimeout
	reasonHandshakeTimeout
	reasonHandshakeReset
	reasonBadAnswer
	reasonStatus
	reasonLost
	reasonProbe
	reasonTrial
	reasonCount
)

// String returns the reason as metrics and the admin API spell it.
func (r reason) String() string {
	switch r {
	case reasonDial:
		return "dial"
	case reasonName:
		return "dns"
	case reasonNoSocket:
		return "no_socket"
	case reasonTLS:
		return "tls"
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
	case reasonTrial:
		return "trial"
	default:
		panic("BUG: reason " + strconv.Itoa(int(r)))
	}
}

// failure returns the reason for which o counts against the backend, or false if it does not count.
// statuses are the answers that count.
func (o Outcome) failure(statuses []int) (reason, bool) {
	if o >= firstStatus {
		return reasonStatus, slices.Contains(statuses, int(o))
	}
	switch o {
	case Ended, StreamEnded, ClientFault, GatewayFault, Shed, NoStream:
		return 0, false
	case DialFailed:
		return reasonDial, true
	case NameFailed:
		return reasonName, true
	case NoSocket:
		return reasonNoSocket, true
	case TLSFailed:
		return reasonTLS, true
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

// isUnreachable reports whether r may mean that the backend's address has changed.
func (r reason) isUnreachable() bool {
	return r == reasonDial || r == reasonName || r == reasonRefused || r == reasonDialTimeout
}
