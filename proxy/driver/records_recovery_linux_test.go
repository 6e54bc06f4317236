package driver

import (
	"crypto/tls"
	"net"
	"reflect"
	"sync"
	"testing"
	"unsafe"

	"sluice/proxy/relay"
	"sluice/tls/record"
)

// A recordFault is a panic in one place of what a loop does with records, for the session whose side sends them.
type recordFault struct {
	before func(l *loop, gateway net.Conn)        // prepares a panic in the session's beginning; nil: it comes with a frame
	arm    func(l *loop, s slot, side relay.Side) // prepares a panic in the next frame of the side. The loop calls it
	sends  int                                    // bytes of the frame; 0: all
	cause  string                                 // of the panic
	isTorn bool                                   // a record for the other side is lost: that side is cut
}

var recordFaults = map[string]recordFault{
	"taking the connection": {cause: "injected", before: func(l *loop, gateway net.Conn) {
		l.do(func() { breakPool(&l.pools.records) })
		rawInputOf(gateway.(*tls.Conn)).Write([]byte{23, 3, 3, 0, 64}) // the beginning of a record, which is to be kept
	}},
	"opening a record": {cause: "index out of range", arm: func(l *loop, s slot, side relay.Side) {
		breakKeys(&l.secure(s, side).records, "in")
	}},
	"receiving what was opened": {cause: "injected", sends: 1, arm: func(l *loop, _ slot, _ relay.Side) {
		breakPool(&l.pools.pendings)
	}},
	"sealing a record": {cause: "index out of range", isTorn: true, arm: func(l *loop, s slot, side relay.Side) {
		breakKeys(&l.secure(s, side.Other()).records, "out")
	}},
}

// breakPool empties a pool of a loop, whose next Get panics.
func breakPool(p *sync.Pool) {
	fresh := p.New
	p.New = nil
	for p.Get() != nil {
	}
	p.New = func() any {
		p.New = fresh
		panic("injected")
	}
}

// breakKeys has the next use of a direction's keys panic: no Layer knows them, and no suite is theirs.
func breakKeys(c *record.Conn, direction string) {
	fields := reflect.ValueOf(c).Elem()
	key := fields.FieldByName(direction).FieldByName("key")
	suite := fields.FieldByName("suite")
	*(*byte)(unsafe.Pointer(key.UnsafeAddr())) ^= 1
	*(*uint8)(unsafe.Pointer(suite.UnsafeAddr())) = 0xff
}

// Neither does a record of the session reach the one that follows it in its slot, nor do its keys stay.
func TestAPanicAmongRecordsEndsItsSessionAloneWith1011(t *testing.T) {
	for name, fault := range recordFaults {
		for side := relay.Client; side <= relay.Backend; side++ {
			t.Run(name+" of the "+side.String(), func(t *testing.T) { panicAmongRecords(t, fault, side) })
		}
	}
}

func panicAmongRecords(t *testing.T, fault recordFault, side relay.Side) {
	both := security{tls.VersionTLS13, tls.VersionTLS13}
	p := new(panics)
	d := openTested(t, &kind{open: func(t testing.TB) Driver { return openRecovering(t, &kind{open: openOneLoop}, p.handle) }})
	l := d.Driver.(*Loops).loops[0].Load()
	others := []*reused{startReused(t, d, both, false, relay.Client), startReused(t, d, both, false, relay.Backend)}
	for _, o := range others {
		o.sendSmall()
	}
	x := newReused(t, d, both, side)
	s := setup{}
	if fault.before != nil {
		s.before = func(gateway [2]net.Conn) { fault.before(l, gateway[side]) }
	}
	x.exchange = join(t, d, x.tappedKind(), s)
	sender, other := x.peers(side)
	if fault.arm != nil {
		x.sendSmall()
		l.do(func() {
			s, _ := l.slots.session(x.handle.id)
			fault.arm(l, s, side)
		})
		f := x.frame(sender, 5000)
		if fault.sends > 0 {
			f = f[:fault.sends]
		}
		sender.write(f)
	}
	sender.wantClose("the panic", 1011, "internal error of the gateway")
	if fault.isTorn {
		other.wantCut("a record was lost")
	} else {
		other.wantClose("the panic", 1011, "internal error of the gateway")
	}
	x.client.close()
	x.backend.close()
	if v := x.wantEnded().Verdict; v.Initiator != relay.Gateway || v.Code != 1011 || v.Reason != relay.ReasonInternal {
		t.Errorf("verdict %v %d %v; want the gateway's, 1011 and an internal error", v.Initiator, v.Code, v.Reason)
	}
	l.do(l.audit)
	next := startReused(t, d, both, false, side)
	wantSameSlot(t, x.handle, next.handle)
	for _, y := range append(others, next) {
		y.sendSmall()
		y.sendLarge()
		y.endByClose()
		y.wantEnded()
		y.checkTaps()
	}
	p.want(t, fault.cause)
	spoilLoop(t, d.Driver.(*Loops)) // nothing of any session is left
}
