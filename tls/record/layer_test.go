package record

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"reflect"
	"testing"
	"unsafe"
)

// newConns returns connections, each with secrets of its own, and their other ends.
func newConns(n int) (conns, others []Conn) {
	conns, others = make([]Conn, n), make([]Conn, n)
	for i := range conns {
		id := suiteIDs[i%len(suiteIDs)]
		a, b := secretOf(id, 1), secretOf(id, 2)
		binary.BigEndian.PutUint32(a, uint32(i))
		binary.BigEndian.PutUint32(b, uint32(i))
		conns[i].suite, others[i].suite = suiteOf(id), suiteOf(id)
		conns[i].in.setSecret(conns[i].suite, a)
		conns[i].out.setSecret(conns[i].suite, b)
		others[i].in.setSecret(conns[i].suite, b)
		others[i].out.setSecret(conns[i].suite, a)
	}
	return conns, others
}

// checkWorks checks that data passes both ways.
func checkWorks(t testing.TB, name string, l *Layer, c *Conn, otherLayer *Layer, other *Conn) {
	t.Helper()
	want := []byte(name)
	there, _, err := otherLayer.Open(other, nil, l.Seal(c, nil, [][]byte{want}))
	if err != nil || !bytes.Equal(there, want) {
		t.Fatalf("%s: the other end has opened %q, %v", name, there, err)
	}
	back, _, err := l.Open(c, nil, otherLayer.Seal(other, nil, [][]byte{want}))
	if err != nil || !bytes.Equal(back, want) {
		t.Fatalf("%s: opened %q, %v", name, back, err)
	}
}

func TestMoreConnectionsThanALayerKeepsTakeTurns(t *testing.T) {
	conns, others := newConns(cacheSize + 100) // twice as many keys
	l, otherLayer := NewLayer(), NewLayer()
	for round := range 3 {
		for i := range conns {
			checkWorks(t, fmt.Sprintf("round %d, connection %d", round, i), l, &conns[i], otherLayer, &others[i])
		}
	}
	if len(l.cache) != cacheSize {
		t.Errorf("the layer keeps %d AEADs, want %d", len(l.cache), cacheSize)
	}
}

func TestAConnectionThatStaysBusyKeepsItsAEADs(t *testing.T) {
	conns, others := newConns(2 * cacheSize)
	l, otherLayer := NewLayer(), NewLayer()
	checkWorks(t, "first", l, &conns[0], otherLayer, &others[0])
	in, out := l.cache[conns[0].in.cached].aead, l.cache[conns[0].out.cached].aead
	for i := range conns {
		checkWorks(t, fmt.Sprint("connection ", i), l, &conns[i], otherLayer, &others[i])
		checkWorks(t, "the busy one", l, &conns[0], otherLayer, &others[0])
	}
	if l.cache[conns[0].in.cached].aead != in || l.cache[conns[0].out.cached].aead != out {
		t.Error("its AEADs were made again")
	}
}

func TestAnEvictedConnectionGoesOn(t *testing.T) {
	conns, others := newConns(cacheSize)
	l, otherLayer := NewLayer(), NewLayer()
	checkWorks(t, "first", l, &conns[0], otherLayer, &others[0])
	in := l.cache[conns[0].in.cached].aead
	for i := range conns[1:] {
		checkWorks(t, fmt.Sprint("connection ", i+1), l, &conns[i+1], otherLayer, &others[i+1])
	}
	if l.cache[conns[0].in.cached].aead == in {
		t.Fatal("it wasn't evicted")
	}
	checkWorks(t, "again", l, &conns[0], otherLayer, &others[0])
}

// keysIn returns how many of a layer's AEADs are for a connection's keys.
func keysIn(l *Layer, c *Conn) (n int) {
	for i := range l.cache {
		if k := l.cache[i].key; k == c.in.key || k == c.out.key {
			n++
		}
	}
	return n
}

func TestForgetWipesTheKeys(t *testing.T) {
	conns, others := newConns(3)
	l, otherLayer := NewLayer(), NewLayer()
	for i := range conns {
		checkWorks(t, fmt.Sprint("connection ", i), l, &conns[i], otherLayer, &others[i])
	}
	forgotten := conns[1]
	l.Forget(&conns[1])
	if conns[1] != (Conn{}) {
		t.Errorf("the connection is %+v, want nothing", conns[1])
	}
	if n := keysIn(l, &forgotten); n > 0 {
		t.Errorf("the layer has %d AEADs for it", n)
	}
	for _, i := range []int{0, 2} {
		if n := keysIn(l, &conns[i]); n != 2 {
			t.Errorf("the layer has %d AEADs for connection %d, want 2", n, i)
		}
		checkWorks(t, fmt.Sprint("connection ", i, " after it"), l, &conns[i], otherLayer, &others[i])
	}
	l.Forget(&conns[1]) // has nothing to forget
	l.Forget(&forgotten)
	checkWorks(t, "connection 0 at last", l, &conns[0], otherLayer, &others[0])
}

func TestForgetLeavesTheOneThatEvictedItAlone(t *testing.T) {
	conns, others := newConns(cacheSize)
	l, otherLayer := NewLayer(), NewLayer()
	for i := range conns {
		checkWorks(t, fmt.Sprint("connection ", i), l, &conns[i], otherLayer, &others[i])
	}
	before := len(l.cache) - countForgotten(l)
	l.Forget(&conns[0])
	if after := len(l.cache) - countForgotten(l); after != before {
		t.Errorf("%d AEADs are left, want all %d: the connection had none", after, before)
	}
}

func countForgotten(l *Layer) (n int) {
	for i := range l.cache {
		if l.cache[i].aead == nil {
			n++
		}
	}
	return n
}

func TestForgottenPlacesAreUsedAgain(t *testing.T) {
	conns, others := newConns(2 * cacheSize)
	l, otherLayer := NewLayer(), NewLayer()
	for i := range conns {
		checkWorks(t, fmt.Sprint("connection ", i), l, &conns[i], otherLayer, &others[i])
		l.Forget(&conns[i])
	}
	if len(l.cache) > cacheSize {
		t.Errorf("the layer keeps %d AEADs, want at most %d", len(l.cache), cacheSize)
	}
	if n := countForgotten(l); n != len(l.cache) {
		t.Errorf("%d of %d AEADs are forgotten, want all", n, len(l.cache))
	}
}

func TestKeysOfBeforeAnUpdateAreForgotten(t *testing.T) {
	c, in, _ := newConn(tls.TLS_AES_128_GCM_SHA256, asServer)
	l := NewLayer()
	if _, _, err := l.Open(c, nil, in.data("data")); err != nil {
		t.Fatal(err)
	}
	l.Seal(c, nil, [][]byte{[]byte("data")})
	before := *c
	if _, _, err := l.Open(c, nil, in.keyUpdate(1)); err != ErrKeyUpdate {
		t.Fatalf("a KeyUpdate is opened as %v", err)
	}
	l.Seal(c, nil, [][]byte{[]byte("data")})
	if n := keysIn(l, &before); n > 0 {
		t.Errorf("the layer has %d AEADs for the old keys", n)
	}
}

// A connection that moves to another process is copied as bytes.
func TestACopyGoesOnInAnotherLayer(t *testing.T) {
	for _, id := range suiteIDs {
		c, in, out := newConn(id, asClient)
		layer := NewLayer()
		m := ticket(300)
		var sealed []byte
		steps := []func(l *Layer, c *Conn) (string, error){
			func(l *Layer, c *Conn) (string, error) {
				content, _, err := l.Open(c, nil, join(in.data("a"), in.record(typeHandshake, m[:3]...)))
				return string(content), err
			},
			func(l *Layer, c *Conn) (string, error) {
				content, _, err := l.Open(c, nil, join(in.record(typeHandshake, m[3:100]...)))
				return string(content), err
			},
			func(l *Layer, c *Conn) (string, error) {
				content, _, _, err := openAll(l, c, nil, join(in.record(typeHandshake, m[100:]...), in.data("b"), in.keyUpdate(1), in.data("c")))
				return string(content), err
			},
			func(l *Layer, c *Conn) (string, error) {
				sealed = l.Seal(c, sealed, [][]byte{[]byte("d")})
				return "", nil
			},
			func(l *Layer, c *Conn) (string, error) {
				sealed = l.Alert(c, sealed, CloseNotify)
				return "", nil
			},
			func(l *Layer, c *Conn) (string, error) {
				sealed = l.Seal(c, l.Alert(c, sealed, CloseNotify), [][]byte{[]byte("e")})
				return "", nil
			},
		}
		for i, step := range steps {
			got, err := step(layer, c)
			if want := []string{"a", "", "bc", "", "", ""}[i]; got != want || err != nil {
				t.Fatalf("%s: step %d gives %q, %v; want %q", tls.CipherSuiteName(id), i, got, err, want)
			}
			moved := *(*[unsafe.Sizeof(Conn{})]byte)(unsafe.Pointer(c))
			layer.Forget(c)
			layer, c = NewLayer(), (*Conn)(unsafe.Pointer(&moved))
		}
		for i, want := range []struct {
			contentType byte
			content     []byte
		}{{typeHandshake, keyUpdate(0)}, {typeApplicationData, []byte("d")}, {typeAlert, []byte{1, 0}}} {
			var contentType byte
			var content []byte
			if contentType, content, sealed = out.open(t, sealed); contentType != want.contentType || !bytes.Equal(content, want.content) {
				t.Errorf("%s: record %d is %x of type %d, want %x of type %d", tls.CipherSuiteName(id), i, content, contentType, want.content, want.contentType)
			}
			if i == 0 {
				out.update()
			}
		}
		if len(sealed) > 0 {
			t.Errorf("%s: %d bytes are sealed after the alert", tls.CipherSuiteName(id), len(sealed))
		}
	}
}

func TestAConnectionIsSmallAndHasNoPointers(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 256 {
		t.Errorf("it is %d bytes long, want at most 256", size)
	}
	var check func(name string, of reflect.Type)
	check = func(name string, of reflect.Type) {
		switch of.Kind() {
		case reflect.Struct:
			for i := range of.NumField() {
				check(name+"."+of.Field(i).Name, of.Field(i).Type)
			}
		case reflect.Array:
			check(name+"[]", of.Elem())
		case reflect.Bool, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		default:
			t.Errorf("%s is a %v", name, of)
		}
	}
	check("Conn", reflect.TypeFor[Conn]())
}

func TestOpenAndSealAllocateNothing(t *testing.T) {
	for _, id := range suiteIDs {
		for _, size := range []int{1, 1000, 1 << 14, 100_000} {
			c, _, _ := newConn(id, asServer)
			other := Conn{suite: c.suite, in: c.out, out: c.in}
			l := NewLayer()
			spans := [][]byte{make([]byte, size/2), make([]byte, size-size/2)}
			records, content := make([]byte, 0, 2*size+100), make([]byte, 0, 2*size+100)
			if n := testing.AllocsPerRun(10, func() {
				records = l.Seal(c, records[:0], spans)
				var err error
				if content, _, err = l.Open(&other, content[:0], records); err != nil || len(content) != size {
					t.Fatalf("opened %d bytes, %v", len(content), err)
				}
			}); n > 0 {
				t.Errorf("%s, %d bytes: %v allocations, want none", tls.CipherSuiteName(id), size, n)
			}
		}
	}
}

// bench runs a benchmark for each suite and size of content.
func bench(b *testing.B, f func(b *testing.B, id uint16, content []byte)) {
	for _, id := range suiteIDs {
		for _, size := range []int{64, 1 << 10, 16 << 10} {
			b.Run(fmt.Sprintf("%s/%d", tls.CipherSuiteName(id), size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				f(b, id, make([]byte, size))
			})
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	bench(b, func(b *testing.B, id uint16, content []byte) {
		c, _, _ := newConn(id, asServer)
		l := NewLayer()
		spans := [][]byte{content}
		records := make([]byte, 0, len(content)+2*Overhead)
		for b.Loop() {
			records = l.Seal(c, records[:0], spans)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	bench(b, func(b *testing.B, id uint16, content []byte) {
		c, in, _ := newConn(id, asServer)
		l := NewLayer()
		record := in.data(string(content))
		dst := make([]byte, 0, len(record))
		for b.Loop() {
			c.in.seq = 0
			if _, _, err := l.Open(c, dst, record); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpenMissed opens a record of a connection whose AEAD was evicted: the AEAD has to be made, too.
func BenchmarkOpenMissed(b *testing.B) {
	bench(b, func(b *testing.B, id uint16, content []byte) {
		c, in, _ := newConn(id, asServer)
		l := NewLayer()
		record := in.data(string(content))
		dst := make([]byte, 0, len(record))
		for b.Loop() {
			l.forget(&c.in)
			l.cache = l.cache[:0]
			c.in.seq = 0
			if _, _, err := l.Open(c, dst, record); err != nil {
				b.Fatal(err)
			}
		}
	})
}
