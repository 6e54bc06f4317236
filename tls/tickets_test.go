package tls

import (
	"context"
	ctls "crypto/tls"
	"encoding/base64"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// keyFile writes keys that are told apart by one byte.
func keyFile(t testing.TB, path string, keys ...byte) {
	t.Helper()
	text := "# newest first\n\n"
	for _, key := range keys {
		text += base64.StdEncoding.EncodeToString(append(make([]byte, 31), key)) + "\n"
	}
	replaceFile(t, path, []byte(text))
}

func TestGatewaysThatShareAKeyFileResumeEachOthersSessions(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	cfg.Tickets.KeyFile = filepath.Join(directory, "tickets")
	keyFile(t, cfg.Tickets.KeyFile, 1)
	a, b := serve(t, cfg, Options{}), serve(t, cfg, Options{})
	own := testConfig(cfg.Certificate...)
	stranger := serve(t, own, Options{})

	for version, label := range map[uint16]string{ctls.VersionTLS12: "1.2", ctls.VersionTLS13: "1.3"} {
		client := trusting(ca, "example.com")
		client.MaxVersion = version
		client.ClientSessionCache = ctls.NewLRUClientSessionCache(1)
		a.dial(t, client)
		want(t, a.labels, [2]string{label, ResultFull})
		b.dial(t, client)
		want(t, b.labels, [2]string{label, ResultResumed})
		stranger.dial(t, client)
		want(t, stranger.labels, [2]string{label, ResultFull})
	}
}

func TestKeyFileIsReloaded(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	cfg.Tickets.KeyFile = filepath.Join(directory, "tickets")
	keyFile(t, cfg.Tickets.KeyFile, 1)
	s := serve(t, cfg, Options{})
	client := trusting(ca, "example.com")
	cache := &keptSession{}
	client.ClientSessionCache = cache
	dial := func(result string) {
		t.Helper()
		s.dial(t, client)
		want(t, s.labels, [2]string{"1.3", result})
	}
	dial(ResultFull)
	withFirst := cache.session
	cache.isKept = true
	dial(ResultResumed)
	keyFile(t, cfg.Tickets.KeyFile, 2, 1)
	want(t, s.reloads, ReloadApplied)
	dial(ResultResumed) // an older key opens
	keyFile(t, cfg.Tickets.KeyFile, 2)
	want(t, s.reloads, ReloadApplied)
	dial(ResultFull) // a key that is gone does not

	cache.isKept, cache.session = false, nil
	dial(ResultFull)
	if cache.session == nil || cache.session == withFirst {
		t.Fatal("no ticket under the new key")
	}
	replaceFile(t, cfg.Tickets.KeyFile, []byte("not a key"))
	want(t, s.reloads, ReloadRefused)
	dial(ResultResumed) // the keys before a broken file stay
}

// A keptSession is a cache for one session, which can be kept from being replaced.
type keptSession struct {
	session *ctls.ClientSessionState
	isKept  bool
}

func (k *keptSession) Get(string) (*ctls.ClientSessionState, bool) {
	return k.session, k.session != nil
}

func (k *keptSession) Put(_ string, session *ctls.ClientSessionState) {
	if !k.isKept {
		k.session = session
	}
}

func TestOwnTicketKeysRotateWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig()
		cfg.SelfSigned = true
		labels := make(chan [2]string, 1)
		server := newServer(t, cfg, labels)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			server.Run(ctx)
			close(ended)
		}()
		cache := &keptSession{}
		connect := func() string {
			t.Helper()
			ours, theirs := net.Pipe()
			go func() {
				defer ours.Close()
				if secure, err := server.Handshake(ctx, ours); err == nil {
					_, _ = secure.Write([]byte("x"))
				}
			}()
			client := ctls.Client(theirs, &ctls.Config{InsecureSkipVerify: true, ServerName: "localhost", ClientSessionCache: cache})
			if _, err := client.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			_ = theirs.Close()
			return (<-labels)[1]
		}
		if got := connect(); got != ResultFull {
			t.Fatalf("the first handshake is %q", got)
		}
		cache.isKept = true
		for i := range ticketKeyCount {
			if got := connect(); got != ResultResumed {
				t.Errorf("after %d rotations a handshake is %q, want %q", i, got, ResultResumed)
			}
			time.Sleep(cfg.Tickets.Rotate.Std())
			synctest.Wait()
		}
		if got := connect(); got != ResultFull {
			t.Errorf("after %d rotations a handshake is %q, want %q", ticketKeyCount, got, ResultFull)
		}
		cancel()
		<-ended
	})
}

func TestRotatedKeepsTheNewestKeys(t *testing.T) {
	var keys []ticketKey
	for i := range 2 * ticketKeyCount {
		before := keys
		keys = rotated(keys)
		if len(keys) != min(i+1, ticketKeyCount) || slices.Contains(before, keys[0]) || !slices.Equal(keys[1:], before[:len(keys)-1]) {
			t.Fatalf("rotation %d of %x gives %x", i, before, keys)
		}
	}
}

func TestTicketKeyFilesAreRead(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, test := range []struct {
		name, text string
		want       int // keys; 0: an error
	}{
		{"one", good, 1},
		{"line ends of any kind, comments", "# a comment\r\n" + good + "\r\n\n  " + good + "  \n", 2},
		{"as many as may be", strings.Repeat(good+"\n", maxTicketKeys), maxTicketKeys},
		{"too many", strings.Repeat(good+"\n", maxTicketKeys+1), 0},
		{"nothing", "", 0},
		{"comments only", "# a comment\n", 0},
		{"too short", good[:40] + "\n", 0},
		{"too long", base64.StdEncoding.EncodeToString(make([]byte, 48)), 0},
		{"not base64", strings.Repeat("!", 44), 0},
	} {
		keys, err := parseTicketKeys([]byte(test.text))
		if len(keys) != test.want || (err != nil) != (test.want == 0) {
			t.Errorf("%s: %d keys, %v; want %d", test.name, len(keys), err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), good[:20]) {
			t.Errorf("%s: the error tells a key: %v", test.name, err)
		}
	}
}

// BenchmarkHandshake is the CPU of both sides of a handshake in memory, with an ECDSA P-256
// certificate: no sockets, no goroutine changes of a real server, but the client's work too, which
// is about half of a full one.
func BenchmarkHandshake(b *testing.B) {
	ca, directory := newAuthority(b, "authority"), b.TempDir()
	cfg := testConfig(ca.issue(b, []string{"example.com"}).write(b, directory, "site"))
	for _, version := range []uint16{ctls.VersionTLS12, ctls.VersionTLS13} {
		for _, kind := range []string{ResultFull, ResultResumed} {
			b.Run(ctls.VersionName(version)+"/"+kind, func(b *testing.B) {
				var last string
				server, err := New(cfg, Options{Handshaken: func(_, result string) { last = result }})
				if err != nil {
					b.Fatal(err)
				}
				client := trusting(ca, "example.com")
				client.MaxVersion = version
				client.CurvePreferences = []ctls.CurveID{ctls.X25519}
				if kind == ResultResumed {
					client.ClientSessionCache = ctls.NewLRUClientSessionCache(1)
					handshakeInMemory(b, server, client)
				}
				b.ReportAllocs()
				for b.Loop() {
					handshakeInMemory(b, server, client)
				}
				if last != kind {
					b.Fatalf("the last handshake was %q, want %q", last, kind)
				}
			})
		}
	}
}

// handshakeInMemory shakes hands and passes a byte to the client, which so gets its tickets.
func handshakeInMemory(b *testing.B, server *Server, config *ctls.Config) {
	ours, theirs := newEnds()
	done := make(chan error, 1)
	go func() {
		secure, err := server.Handshake(context.Background(), ours)
		if err == nil {
			_, err = secure.Write([]byte("x"))
		}
		done <- err
	}()
	if _, err := ctls.Client(theirs, config).Read(make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

func TestAnotherProcessGoesOnWithTheTicketKeys(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	old, heir := serve(t, cfg, Options{}), serve(t, cfg, Options{})
	client := trusting(ca, "example.com")
	client.ClientSessionCache = ctls.NewLRUClientSessionCache(1)
	old.dial(t, client)
	want(t, old.labels, [2]string{"1.3", ResultFull})
	state := old.server.TicketState()
	if left := time.Duration(state.Left); len(state.Keys) != 1 || left <= 0 || left > cfg.Tickets.Rotate.Std() {
		t.Fatalf("%d keys, %v left", len(state.Keys), left)
	}
	if err := heir.server.RestoreTickets(&state); err != nil {
		t.Fatal(err)
	}
	heir.dial(t, client)
	want(t, heir.labels, [2]string{"1.3", ResultResumed})
}

func TestKeysOfAnotherProcessRotateWhenTheyWouldHaveThere(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	synctest.Test(t, func(t *testing.T) {
		s, err := New(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		state := TicketState{Keys: [][]byte{make([]byte, 32)}, Left: int64(time.Minute)}
		if err := s.RestoreTickets(&state); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.Run(ctx) }()
		for _, step := range []struct {
			after time.Duration
			keys  int
		}{{time.Minute - 1, 1}, {2, 2}, {cfg.Tickets.Rotate.Std() - 2, 2}, {2, 3}} {
			time.Sleep(step.after)
			synctest.Wait()
			if n := len(s.TicketState().Keys); n != step.keys {
				t.Errorf("%d keys; want %d", n, step.keys)
			}
		}
		cancel()
		<-ended
	})
}

func TestKeysOfAnotherProcessAreCheckedAndNeverReplaceThoseOfAFile(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	own := serve(t, cfg, Options{})
	for _, keys := range [][][]byte{{make([]byte, 31)}, {nil}, make([][]byte, ticketKeyCount+1)} {
		before := own.server.TicketState().Keys
		if err := own.server.RestoreTickets(&TicketState{Keys: keys}); err == nil {
			t.Errorf("took keys %v", keys)
		}
		if after := own.server.TicketState().Keys; !slices.EqualFunc(after, before, slices.Equal) {
			t.Error("keys have changed")
		}
	}
	cfg.Tickets.KeyFile = filepath.Join(directory, "tickets")
	keyFile(t, cfg.Tickets.KeyFile, 1)
	shared := serve(t, cfg, Options{})
	state := own.server.TicketState()
	if err := shared.server.RestoreTickets(&state); err != nil {
		t.Fatal(err)
	}
	if n := len(shared.server.TicketState().Keys); n != 0 {
		t.Errorf("%d keys of its own beside the file's", n)
	}
}
