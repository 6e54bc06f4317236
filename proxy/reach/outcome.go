package reach

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/upgrade"
)

// A DialError is a failure before any byte of the request was sent: the request can go to another backend.
type DialError struct{ Err error }

func (e *DialError) Error() string { return e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

// IsUnsent reports whether an error came before any byte of the request was sent.
func IsUnsent(err error) bool {
	var dial *DialError
	return errors.As(err, &dial)
}

// An AnswerError is a failure after a part of the answer's head has come.
type AnswerError struct{ Err error }

func (e *AnswerError) Error() string { return e.Err.Error() }
func (e *AnswerError) Unwrap() error { return e.Err }

// OutcomeOf returns what the failure of a request means for its backend.
func OutcomeOf(err error) balancer.Outcome {
	var rejection *upgrade.Rejection
	var answer *AnswerError
	var name *net.DNSError
	var secure *tlsError
	isDial := IsUnsent(err)
	switch {
	case errors.Is(err, upgrade.ErrInternal), isDial && netconn.Exhausted(err) != "":
		return balancer.GatewayFault
	case errors.Is(err, upgrade.ErrStreams):
		return balancer.NoStream
	case errors.As(err, &rejection):
		return balancer.BadAnswer
	case isDial && errors.Is(err, syscall.ECONNREFUSED):
		return balancer.Refused
	case isDial && errors.Is(err, syscall.ENOENT):
		return balancer.NoSocket
	case isDial && errors.As(err, &name):
		return balancer.NameFailed
	case isDial && netconn.IsTimeout(err):
		return balancer.DialTimeout
	case isDial && errors.As(err, &secure):
		return balancer.TLSFailed
	case isDial:
		return balancer.DialFailed
	case errors.As(err, &answer): // even if the rest didn't come in time: the backend has handled the request
		return balancer.BadAnswer
	case netconn.IsTimeout(err):
		return balancer.HandshakeTimeout
	default:
		return balancer.HandshakeReset
	}
}

// isEnd reports whether an error means that the peer has ended the connection.
func isEnd(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// NextBackend picks a backend for another attempt of a request; the last attempt ended with o. tried are the backends of all attempts before.
// isNext is false if the pool wants no other attempt, or with an error has no other backend. It doesn't wait for a place. The caller makes
// sure that the request can be sent once more.
func NextBackend(pool *balancer.Pool, want *balancer.Request, tried []*balancer.Backend, o balancer.Outcome) (next balancer.Pick, isNext bool, err error) {
	if !pool.MayRetry(o, len(tried)) {
		return balancer.Pick{}, false, nil
	}
	next, err = pool.Pick(context.Background(), want, tried)
	return next, err == nil, err
}

// RetryAfter is the number of seconds that a client should wait if the gateway is full.
const RetryAfter = 5

// Rejection returns the answer to the client after the last attempt has failed with err, whose outcome is o.
func Rejection(err error, o balancer.Outcome) *upgrade.Rejection {
	var rejection *upgrade.Rejection
	switch {
	case errors.As(err, &rejection):
		return rejection
	case netconn.IsTimeout(err):
		return upgrade.ErrBackendTimeout
	case o == balancer.HandshakeReset, o == balancer.BadAnswer:
		return upgrade.ErrBadAnswer
	case netconn.Exhausted(err) != "":
		return Exhausted(netconn.Exhausted(err))
	default:
		return upgrade.ErrDial
	}
}

// Exhausted returns the answer to a client for whose session the gateway has no more of a resource.
func Exhausted(r netconn.Resource) *upgrade.Rejection {
	switch r {
	case netconn.Descriptors:
		return upgrade.ErrDescriptors.RetryAfter(RetryAfter)
	case netconn.Ports:
		return upgrade.ErrPorts.RetryAfter(RetryAfter)
	case netconn.Memory:
		return upgrade.ErrMemory.RetryAfter(RetryAfter)
	default:
		panic("BUG: no such resource: " + r)
	}
}

// Unpicked returns the answer to the client if the pool had no backend for the first attempt.
func Unpicked(err error) *upgrade.Rejection {
	var full *balancer.FullError
	if errors.As(err, &full) {
		rejection := upgrade.ErrPoolFull
		if full.IsShare {
			rejection = upgrade.ErrQueueShare
		}
		return rejection.RetryAfter(int((full.RetryAfter + time.Second - 1) / time.Second))
	}
	return upgrade.ErrNoBackend
}
