package reach

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"sluice/balancer"
	"sluice/upgrade"
)

// Faults C2.
func TestWhatTheGatewayLacksIsNotTheBackendsFault(t *testing.T) {
	for errno, want := range map[syscall.Errno]*upgrade.Rejection{
		syscall.EMFILE:        upgrade.ErrDescriptors,
		syscall.ENFILE:        upgrade.ErrDescriptors,
		syscall.EADDRNOTAVAIL: upgrade.ErrPorts,
		syscall.ENOBUFS:       upgrade.ErrMemory,
		syscall.ENOMEM:        upgrade.ErrMemory,
	} {
		err := &DialError{&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}}
		o := OutcomeOf(err)
		if o != balancer.GatewayFault {
			t.Errorf("%v has outcome %v, want %v", errno, o, balancer.GatewayFault)
		}
		if r := Rejection(err, o); !errors.Is(r, want) || len(r.Header) == 0 {
			t.Errorf("%v is answered by %v with %v, want %v with a Retry-After", errno, r, r.Header, want)
		}
	}
}
