package driver

import (
	"testing"
	"time"
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

func TestAClientThatGoesOnSendingIsClosedAfter256KiB(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		start := time.Now()
		x := closed(t, k)
		x.backend.close()
		done := x.client.writeAll(make([]byte, 16<<20))
		x.wantResult(t)
		<-done // the connection is closed: more isn't taken
		x.wantPassed(t, start, 0)
	})
}

func TestABackendThatDoesNotEndIsResetAfterASecond(t *testing.T) {
	play(t, func(t *testing.T, k *kind) {
		start := time.Now()
		x := closed(t, k)
		x.client.close()
		n, err := x.backend.readOn()
		if n > 0 || k.hasReset && !isReset(err) {
			t.Errorf("backend got %d bytes, then %v; want a reset", n, err)
		}
		x.wantResult(t)
		x.wantPassed(t, start, time.Second)
	})
}
