package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

var (
	upgradesTime = flag.Duration("upgrades", 10*time.Second, "how long the traffic of TestUpgradesAmongWhateverElseOperatorsDo lasts")
	upgradesSeed = flag.Uint64("upgrades.seed", 0, "seed of TestUpgradesAmongWhateverElseOperatorsDo; 0 means a new one")
)

// Operators upgrade, reload, drain and close sessions at random moments, while sessions come and go. No session ends without a close, no
// message is lost, and at the end no count is left over.
func TestUpgradesAmongWhateverElseOperatorsDo(t *testing.T) {
	t.Parallel()
	seed := *upgradesSeed
	for seed == 0 {
		seed = newSeed()
	}
	t.Logf("-upgrades.seed=%d", seed)
	s := &upgradeSite{backends: [3]string{runEcho(t), runEcho(t)}}
	s.backends[2] = "wss://" + secureGateway(t, "[listener.tls]\nself_signed = true\n", s.backends[0]).listeners["public"]
	s.upgradable = runUpgradable(t, s.config(newDice(seed, 0)))
	s.http.Transport = &http.Transport{DisableKeepAlives: true}
	stopped := make(chan struct{})
	var acting sync.WaitGroup
	for i := range 24 {
		acting.Go(func() {
			for dice := newDice(seed, uint64(100+i)); !isClosed(stopped); {
				s.sojourn(t, dice, stopped)
			}
		})
	}
	for i := range 2 {
		acting.Go(func() {
			for dice := newDice(seed, uint64(1+i)); !isClosed(stopped); time.Sleep(dice.within(400 * time.Millisecond)) {
				s.operate(t, dice)
			}
		})
	}
	upgrades := 0
	dice := newDice(seed, 10)
	for begin := time.Now(); time.Since(begin) < *upgradesTime && !t.Failed(); upgrades++ {
		time.Sleep(dice.within(time.Second))
		if _, err := s.tryUpgrade(t); err != nil {
			t.Error(err)
		}
	}
	close(stopped)
	acting.Wait()
	t.Logf("%d upgrades, %d reloads, %d sessions, %d of them closed by the gateway, %d refusals, %d messages",
		upgrades, s.reloads.Load(), s.sessions.Load(), s.closed.Load(), s.refused.Load(), s.messages.Load())
	s.wantNothingLeft(t)
}

// An upgradeSite is a gateway with its backends, and counts of what has happened.
type upgradeSite struct {
	*upgradable
	backends [3]string
	http     http.Client
	writing  sync.Mutex // of the configuration's file

	reloads, sessions, closed, refused, messages atomic.Int64
}

// config returns a random valid configuration with the same listeners.
func (s *upgradeSite) config(d dice) string {
	w := &configWriter{dice: d}
	w.WriteString("[gateway]\ndrain = \"2s\"\n")
	w.key("max_sessions = %d", d.between(5, 30))
	w.key("on_removed = %q", one(d, "keep", "drain"))
	w.WriteString("[admin]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n")
	for _, name := range []string{"public", "secure"} {
		fmt.Fprintf(w, "[[listener]]\nname = %q\naddress = \"127.0.0.1:0\"\n", name)
		w.key("max_sessions = %d", d.between(3, 30))
		w.key("max_sessions_per_ip = %d", d.between(2, 30))
	}
	w.WriteString("[listener.tls]\nself_signed = true\n") // of the last one
	paths := []string{"/", "/other"}
	for _, path := range paths[:d.between(1, 2)] {
		fmt.Fprintf(w, "[[route]]\npath = %q\npool = %q\n", path, one(d, "one", "two"))
		w.key("ping_interval = %q", w.time("50ms", "1s"))
		w.key("ping = %q", one(d, "answer", "forward", "mirror"))
	}
	for _, name := range []string{"one", "two"} {
		fmt.Fprintf(w, "[[pool]]\nname = %q\npolicy = %q\n", name, one(d, "round_robin", "least_conn", "random_two", "ip_hash"))
		w.key("queue_timeout = %q", w.time("100ms", "1s"))
		w.key("queue = %d", d.between(1, 10))
		w.key("slow_start = %q", w.time("1s", "10s"))
		var backends []string
		for _, i := range d.Perm(len(s.backends))[:d.between(1, len(s.backends))] {
			backends = append(backends, fmt.Sprintf("{ address = %q, max_sessions = %d }", s.backends[i], one(d, 0, d.between(1, 10))))
		}
		fmt.Fprintf(w, "backend = [%s]\n[pool.tls]\ninsecure = true\n", strings.Join(backends, ", "))
	}
	return w.String()
}

// ask asks the admin API, which must answer.
func (s *upgradeSite) ask(t *testing.T, method, path string) (answer []byte) {
	request, err := http.NewRequest(method, "http://"+s.admin+path, nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	response, err := s.http.Do(request)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer response.Body.Close()
	if answer, err = io.ReadAll(response.Body); err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	return answer
}

// operate does one of the things that operators do.
func (s *upgradeSite) operate(t *testing.T, d dice) {
	switch d.IntN(5) {
	case 0:
		s.writing.Lock()
		defer s.writing.Unlock()
		if err := os.WriteFile(s.upgradable.config+".new", []byte(s.config(d)), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Rename(s.upgradable.config+".new", s.upgradable.config); err != nil {
			t.Error(err)
		}
		s.ask(t, "POST", "/api/v1/reload")
		s.reloads.Add(1)
	case 1, 2:
		address := one(d, s.backends[:]...)
		s.ask(t, "POST", "/api/v1/pools/"+one(d, "one", "two")+"/backends/"+url.PathEscape(address)+
			one(d, "/drain", "/drain?over=200ms", "/drain?over=2s", "/undrain", "/undrain", "/undrain"))
	case 3:
		var page struct{ Sessions []struct{ ID string } }
		if json.Unmarshal(s.ask(t, "GET", "/api/v1/sessions?limit=20"), &page) == nil && len(page.Sessions) > 0 {
			s.ask(t, "DELETE", "/api/v1/sessions/"+one(d, page.Sessions...).ID)
		}
	default:
		s.ask(t, "DELETE", "/api/v1/sessions?"+one(d, "listener=secure", "pool=one", "path=%2Fother", "idle=100ms", "age=1s", "all=true")+
			one(d, "", "&code=1012", "&code=4000"))
	}
}

// errClosed is the end of a session by a close of the gateway.
var errClosed = errors.New("closed")

// sojourn opens a session, has random messages echoed for a random time, and ends it.
func (s *upgradeSite) sojourn(t *testing.T, d dice, stopped <-chan struct{}) {
	address := one(d, "ws://"+s.listeners["public"], "wss://"+s.listeners["secure"]) + one(d, "/", "/", "/other")
	dialer := ws.Dialer{Timeout: upgradePatience, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	conn, early, _, err := dialer.Dial(context.Background(), address)
	if status := ws.StatusError(0); errors.As(err, &status) {
		s.refused.Add(1)
		time.Sleep(20 * time.Millisecond)
		return
	} else if err != nil {
		t.Errorf("handshake at %s: %v", address, err)
		return
	}
	defer conn.Close()
	s.sessions.Add(1)
	reader := early
	if early == nil {
		reader = bufio.NewReader(conn)
	}
	_ = conn.SetDeadline(time.Now().Add(2 * upgradePatience))
	for until := time.Now().Add(d.within(3 * time.Second)); time.Now().Before(until) && !isClosed(stopped); time.Sleep(d.within(100 * time.Millisecond)) {
		payload := []byte(d.octets(d.size()))
		errWrite := ws.WriteFrame(conn, ws.MaskFrame(ws.NewBinaryFrame(payload)))
		switch got, err := readMessage(conn, reader); {
		case errors.Is(err, errClosed):
			s.closed.Add(1)
			return
		case err != nil:
			t.Errorf("session at %s from %s: %v; write: %v", address, conn.LocalAddr(), err, errWrite)
			return
		case !bytes.Equal(got, payload):
			t.Errorf("session at %s from %s: %d bytes come back of %d, or others", address, conn.LocalAddr(), len(got), len(payload))
			return
		}
		s.messages.Add(1)
	}
	if d.oneIn(2) {
		_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))))
		if _, err := readMessage(conn, reader); !errors.Is(err, errClosed) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("session at %s from %s: %v after a close", address, conn.LocalAddr(), err)
		}
	}
}

// readMessage returns the next message, answers pings before it, and a close instead of it.
func readMessage(conn io.Writer, reader io.Reader) (message []byte, err error) {
	for {
		f, err := readFrame(reader)
		switch {
		case err != nil:
			return nil, err
		case f.Header.OpCode == ws.OpClose:
			_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(f.Payload)))
			return nil, errClosed
		case f.Header.OpCode == ws.OpPing:
			_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewPongFrame(f.Payload)))
		case f.Header.OpCode.IsData():
			if message = append(message, f.Payload...); f.Header.Fin {
				return message, nil
			}
		}
	}
}

// wantNothingLeft waits until the last process is alone and counts nothing. All sessions must have ended.
func (s *upgradeSite) wantNothingLeft(t *testing.T) {
	t.Helper()
	s.wantGone(t)
	for _, metric := range []string{"sluice_sessions_active", "sluice_backend_sessions", "sluice_queued_bytes"} {
		eventually(t, upgradePatience, metric+" is 0", func() bool { return s.count(t, metric) == 0 })
	}
	var status struct {
		Older     []struct{ PID int }
		Limits    struct{ Connections, Sessions int }
		Listeners []listenerView
	}
	text := s.ask(t, "GET", "/api/v1/status")
	if err := json.Unmarshal(text, &status); err != nil {
		t.Fatal(err)
	}
	eventually(t, upgradePatience, "no place is taken", func() bool {
		text = s.ask(t, "GET", "/api/v1/status")
		status.Older, status.Listeners = nil, nil
		return json.Unmarshal(text, &status) == nil && len(status.Older) == 0 && status.Limits.Connections == 0 && status.Limits.Sessions == 0 &&
			len(status.Listeners) == 2 && !slices.ContainsFunc(status.Listeners, func(l listenerView) bool { return l.Sessions+l.Handshakes+l.Requests+l.Connections != 0 })
	})
	var pools struct {
		Pools []struct {
			Name     string
			Sessions int
		}
	}
	eventually(t, upgradePatience, "no pool has a session", func() bool {
		pools.Pools = nil
		return json.Unmarshal(s.ask(t, "GET", "/api/v1/pools"), &pools) == nil && len(pools.Pools) == 2 && pools.Pools[0].Sessions+pools.Pools[1].Sessions == 0
	})
}
