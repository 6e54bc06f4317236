package driver

import (
	"testing"
	"time"

	"sluice/proxy/relay"
)

// closed is an exchange after both closes: the client has the end of its stream.
func closed(t *testing.T, k *kind) *exchange {
	x := begin(t, k, setup{})
	x.client.write(x.client.closing(1000, ""))
	x.backend.wantClose("the client's close", 1000, "")
	x.backend.write(x.backend.closing(1000, ""))
	x.client.wantClose("the backend's close", 1000, "")
	x.client.wantEnd("both closes are through")
	return x
}

func TestAClientThatDoesNotEndIsClosedAfterASecond(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		start := time.Now()
		x := closed(t, k)
		x.backend.close()
		x.client.write([]byte("whatever comes is thrown away"))
		x.wantResult(t)
		x.wantPassed(t, start, time.Second)
	})
}

func TestAClientsEndEndsTheSessionAtOnce(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		start := time.Now()
		x := closed(t, k)
		x.client.shut()
		x.backend.close()
		x.wantResult(t)
		x.wantPassed(t, start, 0)
	})
}

// Faults C23: a client that sent a large frame gets its 1009 and the end of its stream in front of any reset, however much it still sends.
func TestASideThatGoesOnSendingAfterAFaultReadsTheClose(t *testing.T) {
	eachSide(t, func(t *testing.T, k *kind, side relay.Side) {
		const size = 4 << 20
		x := begin(t, k, setup{config: relay.Config{MaxFrame: 1 << 20}})
		p, other := x.peers(side)
		p.write(p.header(isFin|opBinary, size))
		p.write(make([]byte, size)) // all of it is taken: the peer reads only afterwards
		other.wantClose("loss of the offender", [2]uint16{1001, 1011}[side], "*")
		other.write(other.closing(1000, ""))
		p.wantClose("the fault", 1009, "*")
		p.wantEnd("nothing more comes")
		p.close()
		other.close()
		x.wantResult(t)
	})
}

func TestABackendThatDoesNotEndIsClosedAfterASecond(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		start := time.Now()
		x := closed(t, k)
		x.client.close()
		x.wantResult(t)
		x.wantPassed(t, start, time.Second)
		x.backend.wantEnd("both closes are through")
	})
}
