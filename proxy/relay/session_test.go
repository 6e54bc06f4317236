package relay

import (
	"reflect"
	"slices"
	"testing"
	"unsafe"
)

func TestScanAllocatesNothing(t *testing.T) {
	s, e := newBenchSession()
	begin, last := dataFrame(Client, opText, 5), dataFrame(Client, opContinuation, 3)
	begin[0] &^= bitFin
	p := slices.Concat(dataFrame(Client, opText, 5), appendFrame(nil, Backend, opPing, []byte("Hello")), begin, last)
	pong := make([]byte, 0, maxControlFrame)
	allocs := testing.AllocsPerRun(100, func() {
		for b := p; len(b) > 0; {
			pass, skip, step := s.Scan(e, Client, b)
			if step == Pong {
				pong = s.AppendPong(pong[:0], Client, b[pass:pass+skip])
				s.PongQueued(Client, len(pong), len(pong))
				s.Sent(e, Client, len(pong), 0)
			}
			b = b[pass+skip:]
		}
	})
	if allocs != 0 {
		t.Errorf("a text, a ping, a fragmented text: %v allocations; want none", allocs)
	}
}

func TestSessionIsSmallAndHasNoPointers(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); size > 320 {
		t.Errorf("a session takes %d bytes; want 320 at most", size)
	}
	if hasPointers(reflect.TypeFor[Session]()) {
		t.Error("a session has pointers; want none, so that the garbage collector doesn't look at a slab of them")
	}
}

func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.NumField() {
			if hasPointers(t.Field(f).Type) {
				return true
			}
		}
		return false
	case reflect.Array:
		return hasPointers(t.Elem())
	default:
		return t.Kind() < reflect.Bool || t.Kind() > reflect.Float64 || t.Kind() == reflect.Uintptr
	}
}
