package driver

import (
	"math/rand/v2"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/proxy/relay"
)

// openCounted opens a driver of one loop whose turns are counted.
func openCounted(t *testing.T, turns *atomic.Int64) *Loops {
	t.Helper()
	d := &Loops{clock: newClock(), pools: newPools(), other: NewGoroutine(nil)}
	l, err := newLoop(d.clock, d.pools, nil)
	if err != nil {
		t.Fatal(err)
	}
	d.loops = make([]atomic.Pointer[loop], 1)
	d.loops[0].Store(l)
	go func() {
		defer close(l.ended)
		defer l.poller.Close()
		for l.runCommands() {
			l.turn()
			turns.Add(1)
		}
	}()
	return d
}

// A hung-up descriptor is reported by every epoll_wait for as long as it is registered.
func TestASideThatIsGoneWhileItIsNotReadCostsNoTurns(t *testing.T) {
	tcp := func(t testing.TB) (net.Conn, net.Conn) { return tcpPair(t, true) }
	unixSockets := func(t testing.TB) (net.Conn, net.Conn) { return unixPair(t, true) }
	for _, s := range []struct {
		name    string
		pair    func(testing.TB) (net.Conn, net.Conn)
		isTold  bool // data for the backend waits too
		goAway  func(*peer)
		isFlood bool // the backend isn't read as the client takes nothing
	}{
		{"idle", tcp, false, func(*peer) {}, false},
		{"half-closed", tcp, false, (*peer).shut, false},
		{"half-closed Unix socket", unixSockets, false, (*peer).shut, false},
		{"reset", tcp, false, (*peer).reset, true},
		{"reset with data for it", tcp, true, (*peer).reset, true},
		{"closed Unix socket", unixSockets, false, (*peer).close, true},
		{"shut Unix socket that is full", unixSockets, true, shutBoth, true},
	} {
		t.Run(s.name, func(t *testing.T) {
			var turns atomic.Int64
			k := &kind{
				open: func(testing.TB) Driver { return openCounted(t, &turns) },
				pair: func(t testing.TB, _ bool) (net.Conn, net.Conn) { return s.pair(t) },
			}
			x := begin(t, k, setup{})
			if s.isTold {
				x.client.write(x.client.frame(isFin|opBinary, make([]byte, 100<<10)))
				eventually(t, "bytes wait for the backend", func() bool { return x.driver.QueuedBytes() > 0 })
			}
			if s.isFlood {
				done := x.backend.writeAll(x.backend.frame(isFin|opBinary, make([]byte, 4<<20)))
				defer func() { <-done }()
				eventually(t, "the backend isn't read", func() bool { return isPausedInLoop(x.handle, relay.Backend) })
			}
			s.goAway(x.backend)
			time.Sleep(50 * time.Millisecond) // what has to be done about it is done
			before := turns.Load()
			time.Sleep(200 * time.Millisecond)
			if n := turns.Load() - before; n > 5 {
				t.Errorf("%d turns in 200 ms; want none", n)
			}
		})
	}
}

// shutBoth ends both directions and keeps what has come unread: the other end is hung up, and full for ever.
func shutBoth(p *peer) {
	raw, err := p.conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		p.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
}

func TestASessionsStateIsSmallAndHasNoPointersOutsideOfItsColdPart(t *testing.T) {
	if n := unsafe.Sizeof(hot{}); n > 360 {
		t.Errorf("hot is %d bytes; want 360 at most", n)
	}
	if n := unsafe.Sizeof(secured{}); n > 256 {
		t.Errorf("secured is %d bytes; want 256 at most", n)
	}
	if n := unsafe.Sizeof(cold{}); n > 48 {
		t.Errorf("cold is %d bytes; want 48 at most", n)
	}
	checkNoPointers(t, "hot", reflect.TypeFor[hot]())
	checkNoPointers(t, "secured", reflect.TypeFor[secured]())
}

func checkNoPointers(t *testing.T, path string, typ reflect.Type) {
	switch typ.Kind() {
	case reflect.Struct:
		for f := range typ.Fields() {
			checkNoPointers(t, path+"."+f.Name, f.Type)
		}
	case reflect.Array:
		checkNoPointers(t, path+"[]", typ.Elem())
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
	default:
		t.Errorf("%s is a %s: the garbage collector has to look at it", path, typ)
	}
}

func TestAnIdleSessionHasNoPendingStateAfterTraffic(t *testing.T) {
	k := &kind{open: openLoops, pair: tcpPair}
	x := begin(t, k, setup{isSmall: [2]bool{true, true}})
	c, b := x.client, x.backend
	data := c.frame(isFin|opBinary, make([]byte, 300<<10))
	half := b.text("half a frame, and pongs that wait for its end")
	done := c.writeAll(data)
	b.want("the data", data)
	<-done
	b.write(half[:9])
	c.want("half a frame", half[:9])
	c.write(c.ping("1"), c.text("mark")[:3])
	c.write(c.text("mark")[3:])
	b.want("data after the ping", c.text("mark"))
	b.write(half[9:])
	c.want("the rest", half[9:])
	c.wantFrame("the pong", isFin|opPong, "1")
	l := x.handle.controller.(*loop)
	eventually(t, "the pending state is given back", func() (is bool) {
		l.do(func() {
			s, isLive := l.slots.find(x.handle.id)
			is = isLive && s.pending == nil
		})
		return is
	})
}

func TestDeadlinesComeInOrderWhateverIsAddedMovedAndRemoved(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var ss slots
	d := deadlines{slots: &ss}
	want := map[uint32]relay.Instant{}
	check := func() {
		var first relay.Instant
		for _, at := range want {
			if first == 0 || at < first {
				first = at
			}
		}
		if got := d.next(); got != first {
			t.Fatalf("next = %d with %d entries; want %d", got, len(want), first)
		}
	}
	for range 20_000 {
		at := relay.Instant(1 + r.Int64N(1<<40))
		index := uint32(r.IntN(1 + len(ss.hots)*slabSize))
		_, isIn := want[index]
		switch r.IntN(3) {
		case 0:
			s := ss.acquire(-1)
			d.add(s, at)
			want[s.index] = roundUp(at)
		case 1:
			if isIn {
				d.set(ss.at(index), at)
				want[index] = roundUp(at)
			}
		case 2:
			if isIn {
				d.remove(ss.at(index))
				ss.release(ss.at(index))
				delete(want, index)
			}
		}
		check()
	}
}

func TestASlotsNextSessionIsNotReachedByTheOldId(t *testing.T) {
	var ss slots
	first := ss.acquire(-1)
	first.owner = newOwner()
	old := first.id()
	ss.release(first)
	second := ss.acquire(-1)
	second.owner = newOwner()
	if second.index != first.index {
		t.Fatalf("slot %d after %d; want the same one", second.index, first.index)
	}
	if _, isLive := ss.find(old); isLive {
		t.Error("the old id finds the new session")
	}
	if s, isLive := ss.find(second.id()); !isLive || s.hot != second.hot {
		t.Error("the new id doesn't find its session")
	}
}
