package reach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"sluice/balancer"
	"sluice/upgrade"
)

// Faults C10: what a failure means for the backend, what an operator reads, and what the client gets.
func TestEachFailureHasItsOutcomeItsCauseAndItsAnswer(t *testing.T) {
	unsent := func(err error) error { return &DialError{err} }
	begun := func(err error) error { return &AnswerError{err} }
	for _, test := range []struct {
		err    error
		want   balancer.Outcome
		cause  string
		answer *upgrade.Rejection
	}{
		{unsent(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}), balancer.Refused, "connection refused", upgrade.ErrDial},
		{unsent(syscall.ENOENT), balancer.NoSocket, "the socket does not exist", upgrade.ErrDial},
		{unsent(syscall.EHOSTUNREACH), balancer.DialFailed, "no route to host", upgrade.ErrDial},
		{unsent(&net.DNSError{Err: "no such host", Name: "a.internal", IsNotFound: true}), balancer.NameFailed, "no address found for the name a.internal", upgrade.ErrDial},
		{unsent(&net.DNSError{Err: "i/o timeout", Name: "a.internal", IsTimeout: true}), balancer.NameFailed, "lookup of the name a.internal timed out", upgrade.ErrBackendTimeout},
		{unsent(&tlsError{io.EOF}), balancer.TLSFailed, "connection closed during the TLS handshake", upgrade.ErrDial},
		{unsent(&tlsError{context.DeadlineExceeded}), balancer.DialTimeout, "no connection in time", upgrade.ErrBackendTimeout},
		{unsent(os.ErrDeadlineExceeded), balancer.DialTimeout, "no connection in time", upgrade.ErrBackendTimeout},
		{unsent(syscall.EMFILE), balancer.GatewayFault, "the gateway has no resources for a connection: too many open files", upgrade.ErrDescriptors},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), balancer.HandshakeTimeout, "no answer in time", upgrade.ErrBackendTimeout},
		{begun(os.ErrDeadlineExceeded), balancer.BadAnswer, "the answer breaks off: no more of it in time", upgrade.ErrBackendTimeout},
		{io.ErrUnexpectedEOF, balancer.HandshakeReset, "connection closed instead of an answer", upgrade.ErrBadAnswer},
		{syscall.ECONNRESET, balancer.HandshakeReset, "connection reset instead of an answer", upgrade.ErrBadAnswer},
		{begun(syscall.ECONNRESET), balancer.BadAnswer, "the answer breaks off: connection reset", upgrade.ErrBadAnswer},
		{begun(errors.New(`malformed HTTP response "secret"`)), balancer.BadAnswer, "the answer is not valid HTTP", upgrade.ErrBadAnswer},
		{upgrade.ErrBadAnswer, balancer.BadAnswer, upgrade.ErrBadAnswer.Text, upgrade.ErrBadAnswer},
	} {
		o := OutcomeOf(test.err)
		if o != test.want {
			t.Errorf("OutcomeOf(%v) = %d; want %d", test.err, o, test.want)
		}
		if got := Cause(test.err, o); got != test.cause {
			t.Errorf("Cause(%v) = %q; want %q", test.err, got, test.cause)
		}
		if got := Rejection(test.err, o); !errors.Is(got, test.answer) {
			t.Errorf("Rejection(%v) = %v; want %v", test.err, got, test.answer)
		}
	}
	if got := Cause(nil, 503); got != "answer 503" {
		t.Errorf("Cause of a status: %q", got)
	}
	if got := Cause(io.EOF, balancer.ClientFault); got != "" {
		t.Errorf("Cause of a client's fault: %q", got)
	}
}
