package relay

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestAllowanceSurvivesItsState(t *testing.T) {
	for _, want := range []*Allowance{nil, {}, {lifetimeAt: 5, expiresAt: maxInstant, messages: 1, bytes: 2, controls: 3}} {
		got, err := want.State().Allowance()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the state of %+v restores %+v, %v", want, got, err)
		}
	}
}

func TestImpossibleAllowancesAreRefused(t *testing.T) {
	for _, st := range []AllowanceState{{LifetimeAt: -1}, {ExpiresAt: -1}, {ExpiresAt: int64(maxInstant) + 1}, {Messages: -1}, {Bytes: -1}, {Controls: -1}} {
		if a, err := st.Allowance(); err == nil {
			t.Errorf("Allowance of %+v = %+v; want an error", st, a)
		}
	}
}

func TestAnInstantFarAwayIsTheLastOrTheFirst(t *testing.T) {
	for _, s := range []struct {
		d    time.Duration
		want Instant
	}{
		{math.MaxInt64, maxInstant}, {math.MinInt64, 1}, {-time.Duration(stateNow) - 1, 1}, {time.Second, stateNow + Instant(time.Second)}, {0, stateNow},
	} {
		if got := stateNow.At(s.d); got != s.want {
			t.Errorf("At(%d) = %d; want %d", s.d, got, s.want)
		}
	}
}
