package driver

import (
	"testing"
	"time"
)

func (t *Turns) count() (n uint64) {
	for _, bucket := range t.Buckets {
		n += bucket
	}
	return n
}

func TestTurnsOfLoopsAreCountedWithWhatTheyLast(t *testing.T) {
	d := openLoops(t)
	k := &kind{open: func(testing.TB) Driver { return d }, pair: tcpPair}
	before := d.Turns()
	x := begin(t, k, setup{})
	x.client.write(x.client.text("hello"))
	x.backend.want("data", x.client.text("hello"))
	l := x.handle.controller.(*loop)
	const long = 3 * time.Millisecond
	l.do(func() { time.Sleep(long) })
	after := d.Turns()
	if after.count() < before.count()+3 || after.Sum < before.Sum+long {
		t.Errorf("turns before %+v, after a message and a command of %v %+v", before, long, after)
	}
	slow := func(t *Turns) (n uint64) {
		for i, bucket := range t.Buckets {
			if i > 0 && TurnBounds[i-1] >= 2500*time.Microsecond {
				n += bucket
			}
		}
		return n
	}
	if slow(&after) <= slow(&before) {
		t.Errorf("no turn of over 2.5ms is counted: %+v", after)
	}
}
