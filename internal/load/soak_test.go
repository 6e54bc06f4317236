package load

import (
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// faultAt is how many bytes a relay passes before its fault.
const faultAt = 10_000_000

func TestSoakFindsOneByteInTenMillion(t *testing.T) {
	plants := map[string]func(p []byte, i int) []byte{
		"drops":      func(p []byte, i int) []byte { return append(p[:i], p[i+1:]...) },
		"duplicates": func(p []byte, i int) []byte { return append(p[:i+1], p[i:]...) },
		"flips":      func(p []byte, i int) []byte { p[i] ^= 0x10; return p },
		"swaps": func(p []byte, i int) []byte {
			// Equal adjacent bytes would be no fault.
			for ; i+1 < len(p); i++ {
				if p[i] != p[i+1] {
					p[i], p[i+1] = p[i+1], p[i]
					break
				}
			}
			return p
		},
	}
	backend, _ := startPlain(t)
	for name, plant := range plants {
		t.Run(name, func(t *testing.T) {
			r := mustRun(t, Options{Mode: Soak, URL: relay(t, backend, plantOnce(plant)), Connections: 1, Duration: time.Minute, Count: 500,
				Size: 256 << 10, Window: 16, Seed: 7})
			if r.BytesReceived < faultAt/2 {
				t.Fatalf("only %d bytes were received", r.BytesReceived)
			}
			if r.Errors == 0 {
				t.Errorf("nothing was found in %d bytes", r.BytesReceived)
			}
			t.Log(texts(r))
		})
	}
	t.Run("nothing", func(t *testing.T) {
		r := mustRun(t, Options{Mode: Soak, URL: relay(t, backend, asItIs), Connections: 1, Duration: time.Minute,
			Count: 500, Size: 256 << 10, Window: 16, Seed: 7})
		if r.Errors != 0 || r.BytesReceived <= faultAt {
			t.Errorf("found %v in %d bytes that are as they were", texts(r), r.BytesReceived)
		}
	})
}

// plantOnce makes a relay plant a fault after faultAt bytes.
func plantOnce(plant func(p []byte, i int) []byte) (change func(p []byte) []byte) {
	seen := 0
	return func(p []byte) []byte {
		n := len(p)
		// The last byte of a part has no next byte to be swapped with.
		if seen < faultAt && seen+n > faultAt+1 {
			p = plant(p, faultAt-seen)
			seen = faultAt
		}
		if seen < faultAt {
			seen += n
		}
		return p
	}
}

func asItIs(p []byte) []byte { return p }

// relay starts a relay to the backend, with what comes back changed on its way: by a byte more at most.
func relay(t *testing.T, backend string, change func(p []byte) []byte) (relayURL string) {
	t.Helper()
	u, err := url.Parse(backend)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", u.Host)
			if err != nil {
				t.Error(err)
				_ = client.Close()
				return
			}
			wg.Go(func() { copyUntilEnd(server, client, asItIs) })
			wg.Go(func() { copyUntilEnd(client, server, change) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return u.Scheme + "://" + ln.Addr().String()
}

func copyUntilEnd(to, from net.Conn, change func(p []byte) []byte) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf[:len(buf)-1]) // room for a byte more
		if err != nil {
			return
		}
		if _, err := to.Write(change(buf[:n])); err != nil {
			return
		}
	}
}

func TestSoakNamesWhatHappenedToMessages(t *testing.T) {
	tests := []struct {
		name  string
		order []int64
		want  string // of the last message; "": none
	}{
		{"in order", []int64{0, 1, 2, 3}, ""},
		{"one missing so far", []int64{0, 2, 3}, ""},
		{"one twice", []int64{0, 1, 1}, "duplicated"},
		{"first one twice", []int64{0, 1, 2, 0}, "duplicated"},
		{"two swapped", []int64{0, 2, 1}, "reordered"},
		{"one that was not sent", []int64{0, 9}, "altered"},
	}
	for _, tt := range tests {
		s := sentSoak(4)
		var f *fault
		for _, number := range tt.order {
			m := s.message(number)
			p := make([]byte, m.size)
			m.read(p)
			f = s.data(0, m.opcode(), p, true)
		}
		kind := ""
		if f != nil {
			kind = f.kind
		}
		if kind != tt.want {
			t.Errorf("%s: %v; want %q", tt.name, f, tt.want)
		}
	}
	s := sentSoak(3)
	m := s.message(2)
	p := make([]byte, m.size)
	m.read(p)
	if f := s.data(0, m.opcode(), p, true); f != nil || s.isDone() || s.missing() != 2 {
		t.Errorf("only the last of three came: %v, done %v, missing %d; want nil, false, 2", f, s.isDone(), s.missing())
	}
}

func TestSoakFindsAMessageOfAnotherLengthOrKind(t *testing.T) {
	tests := map[string]func(p []byte, opcode ws.OpCode) ([]byte, ws.OpCode){
		"shorter":        func(p []byte, o ws.OpCode) ([]byte, ws.OpCode) { return p[:len(p)-1], o },
		"longer":         func(p []byte, o ws.OpCode) ([]byte, ws.OpCode) { return append(p, 'x'), o },
		"a stump":        func(p []byte, o ws.OpCode) ([]byte, ws.OpCode) { return p[:minSoakSize-1], o },
		"another opcode": func(p []byte, o ws.OpCode) ([]byte, ws.OpCode) { return p, o ^ 3 },
		"no number":      func(p []byte, o ws.OpCode) ([]byte, ws.OpCode) { p[3] = 'x'; return p, o },
	}
	for name, change := range tests {
		s := sentSoak(1)
		m := s.message(0)
		p := make([]byte, m.size)
		m.read(p)
		p, opcode := change(p, m.opcode())
		if f := s.data(0, opcode, p, true); f == nil || f.kind != "altered" {
			t.Errorf("%s: %v; want altered", name, f)
		}
	}
}

func TestSoakAcceptsPongsOnlyInOrder(t *testing.T) {
	s := sentSoak(1)
	s.pings = 3
	for _, tt := range []struct {
		pong byte
		isOK bool
	}{{1, true}, {1, false}, {3, true}, {2, false}, {4, false}} {
		if f := s.pong([]byte{7: tt.pong}); (f == nil) != tt.isOK {
			t.Errorf("pong %d: %v; want no fault: %v", tt.pong, f, tt.isOK)
		}
	}
	if s.pong(nil) == nil {
		t.Error("a pong without payload answers a ping that was never sent")
	}
}

func TestSoakDependsOnlyOnItsSeed(t *testing.T) {
	payload := func(seed uint64, id int) string {
		s := newSoak(&Options{Seed: seed, Size: 1 << 10, Window: 1}, newRecorder(), id, 1)
		m := s.message(5)
		p := make([]byte, m.size)
		m.read(p)
		return string(p)
	}
	first := payload(1, 2)
	if again := payload(1, 2); again != first {
		t.Error("the same seed makes different messages")
	}
	if first == payload(2, 2) || first == payload(1, 3) {
		t.Error("different seeds or sessions make the same message")
	}
}

// sentSoak returns a session's traffic that has sent count messages.
func sentSoak(count int64) *soakTraffic {
	s := newSoak(&Options{Seed: 1, Size: 1 << 10, Window: 16}, newRecorder(), 0, count)
	s.begin(0)
	for now := time.Duration(0); s.started < count || !s.isBorder(); now += time.Second {
		s.advance(now, len(s.pending(now)))
	}
	return s
}
