package relay

import (
	"testing"
	"time"
)

func TestHistogramCountsByItsBounds(t *testing.T) {
	var h, sum Histogram
	h.observe(100 * time.Microsecond)
	h.observe(100*time.Microsecond + 1)
	h.observe(time.Minute)
	if h.Buckets[0] != 1 || h.Buckets[1] != 1 || h.Buckets[len(Bounds)] != 1 {
		t.Errorf("buckets are %v", h.Buckets)
	}
	a := Totals{Bytes: [2]uint64{1, 2}, RTT: [2]Histogram{h, sum}}
	a.Frames[Client][opText], a.Rules[Backend][RuleMasked] = 3, 4
	b := a
	b.Add(&a)
	if b.Bytes != [2]uint64{2, 4} || b.Frames[Client][opText] != 6 || b.Rules[Backend][RuleMasked] != 8 ||
		b.RTT[Client].Buckets[0] != 2 || b.RTT[Client].Sum != 2*h.Sum {
		t.Errorf("sum is %+v", b)
	}
}
