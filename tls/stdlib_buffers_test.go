package tls

import (
	"bytes"
	ctls "crypto/tls"
	"reflect"
	"runtime"
	"testing"
	"unsafe"
)

func TestStdlibConnHasTheBuffersThatAreLent(t *testing.T) {
	conn := reflect.TypeFor[ctls.Conn]()
	for _, name := range []string{"rawInput", "hand"} {
		field, found := conn.FieldByName(name)
		if !found || field.Type != reflect.TypeFor[bytes.Buffer]() {
			t.Errorf("the field %s of tls.Conn is %v (found: %v), want a bytes.Buffer", name, field.Type, found)
		}
	}
	if field, found := conn.FieldByName("input"); !found || field.Type != reflect.TypeFor[bytes.Reader]() {
		t.Errorf("the field input of tls.Conn is %v (found: %v), want a bytes.Reader", field.Type, found)
	}
}

// bufferOf returns a buffer inside a connection.
func bufferOf(t testing.TB, conn *ctls.Conn, name string) *bytes.Buffer {
	t.Helper()
	field, found := reflect.TypeFor[ctls.Conn]().FieldByName(name)
	if !found || field.Type != reflect.TypeFor[bytes.Buffer]() {
		t.Fatalf("tls.Conn has no bytes.Buffer %s", name)
	}
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(conn), field.Offset))
}

func TestStdlibReadStaysInALentRawInput(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		raw := bufferOf(t, p.server, "rawInput")
		var want, got []byte
		lent := make([]byte, 64<<10)
		for _, messageBytes := range []int{1, 16384, 100, 40000} {
			message := randomBytes(messageBytes)
			want = append(want, message...)
			if _, err := p.client.Write(message); err != nil {
				t.Fatal(err)
			}
			if raw.Len() > 0 {
				t.Fatalf("%d bytes are left in rawInput at a record boundary", raw.Len())
			}
			*raw = *bytes.NewBuffer(lent[:0])
			got = append(got, readAll(t, p.server)...)
			if raw.Len() > 0 {
				t.Fatalf("%d bytes are left in rawInput when all was read", raw.Len())
			}
			if raw.Cap() != cap(lent) {
				t.Errorf("reading %d bytes took a buffer of %d bytes, want the one that was lent", messageBytes, raw.Cap())
			}
			*raw = bytes.Buffer{}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("got %d bytes, want %d, the same", len(got), len(want))
		}
	})
}

func TestStdlibPartOfARecordStaysInRawInput(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		if _, err := p.client.Write([]byte("in two parts")); err != nil {
			t.Fatal(err)
		}
		wire := p.serverEnd.in.take()
		raw := bufferOf(t, p.server, "rawInput")
		for _, cut := range []int{1, 5, 6, len(wire) - 1} {
			p.serverEnd.in.put(wire[raw.Len():cut])
			if got := readAll(t, p.server); len(got) > 0 {
				t.Fatalf("got %q of %d bytes", got, cut)
			}
			// A lent buffer is taken back: the part moves to one of the session's own.
			part := bytes.Clone(raw.Bytes())
			if !bytes.Equal(part, wire[:cut]) {
				t.Fatalf("rawInput has %x, want the %d bytes that came", part, cut)
			}
			*raw = *bytes.NewBuffer(part)
		}
		p.serverEnd.in.put(wire[len(wire)-1:])
		if got := readAll(t, p.server); string(got) != "in two parts" {
			t.Errorf("got %q", got)
		}
	})
}

func TestStdlibUnreadPlaintextIsInsideRawInput(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		if _, err := p.client.Write([]byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		small := make([]byte, 4)
		if n, err := p.server.Read(small); n != 4 || err != nil {
			t.Fatalf("Read = %d, %v", n, err)
		}
		// So a lent rawInput may only be taken back when Read has said "again".
		if got := string(readAll(t, p.server)); got != "456789" {
			t.Errorf("the rest is %q", got)
		}
	})
}

func TestStdlibIdleConnWeighsWhatWasMeasured(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		client.ClientSessionCache = nil
		const count = 150
		conns := make([]*ctls.Conn, count)
		before := heapBytes()
		for i := range conns {
			p := newPair(t, server, client)
			p.clientEnd.in.take()
			conns[i] = p.server
		}
		weight := func() int { return (heapBytes() - before) / count }
		afterHandshake := weight()

		for i := range conns {
			p := newPair(t, server, client)
			if _, err := p.client.Write(make([]byte, 16<<10)); err != nil {
				t.Fatal(err)
			}
			readAll(t, p.server)
			p.clientEnd.in.take()
			conns[i] = p.server
		}
		afterRecord := weight()

		for _, conn := range conns {
			*bufferOf(t, conn, "rawInput") = bytes.Buffer{}
			*bufferOf(t, conn, "hand") = bytes.Buffer{}
		}
		emptied := weight()
		runtime.KeepAlive(conns)

		// As measured with Go 1.26, the connections in memory included, and a fifth for other machines.
		limits := map[uint16][3]int{
			ctls.VersionTLS12: {9900, 18800, 5600},
			ctls.VersionTLS13: {8100, 17000, 3800},
		}[server.MaxVersion]
		t.Logf("bytes an idle connection: %d after the handshake, %d after a record of 16 KiB, %d emptied", afterHandshake, afterRecord, emptied)
		for i, got := range []int{afterHandshake, afterRecord, emptied} {
			if got > limits[i] {
				t.Errorf("an idle connection weighs %d bytes, want at most %d (%s)",
					got, limits[i], []string{"after the handshake", "after a record of 16 KiB", "emptied"}[i])
			}
		}
	})
}

// heapBytes returns what is alive on the heap.
func heapBytes() int {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

func TestStdlibConnHasTheSecretOfItsPeersKeys(t *testing.T) {
	field, isThere := reflect.TypeFor[ctls.Conn]().FieldByName("in")
	if !isThere {
		t.Fatal("tls.Conn has no field in")
	}
	secret, isThere := field.Type.FieldByName("trafficSecret")
	if !isThere || secret.Type != reflect.TypeFor[[]byte]() {
		t.Fatalf("%v has no []byte trafficSecret: floods of key updates aren't noticed", field.Type)
	}
}
