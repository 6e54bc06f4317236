//go:build unix

package test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A manner is what a stub does with a connection.
type manner int32

const (
	sound     manner = iota // takes each session, answers GET with 200
	silent                  // never answers
	busy                    // answers 503 to everything
	reset                   // resets the connection instead of an answer
	deaf                    // takes sessions and never says anything in one
	unhealthy               // takes sessions, but answers GET with 500
	talkative               // answers a message with some of its own
)

// A stub is a backend in the process of the test. Its 101 says its address.
type stub struct {
	address string
	secure  *tls.Config // nil: it speaks no TLS
	manner  atomic.Int32
	reached atomic.Int64 // connections
	asked   atomic.Int64 // those with a request

	mu    sync.Mutex
	ln    net.Listener
	conns map[net.Conn]bool
}

// startStub starts a stub at an address of loopback; port 0: any.
func startStub(t *testing.T, address string) *stub {
	t.Helper()
	return startSecureStub(t, address, nil)
}

// startSecureStub is startStub with TLS.
func startSecureStub(t *testing.T, address string, secure *tls.Config) *stub {
	t.Helper()
	s := &stub{address: address, secure: secure, conns: map[net.Conn]bool{}}
	s.open(t)
	t.Cleanup(s.close)
	return s
}

func (s *stub) behave(m manner) { s.manner.Store(int32(m)) }

// open listens, again after close at the same address.
func (s *stub) open(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.address = ln.Addr().String()
	if s.secure != nil {
		ln = tls.NewListener(ln, s.secure)
	}
	s.ln = ln
	s.mu.Unlock()
	go s.serve(ln)
}

// close stops listening and cuts what there is.
func (s *stub) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.ln.Close()
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *stub) serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s.reached.Add(1)
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		go s.receive(c)
	}
}

func (s *stub) receive(c net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	r := bufio.NewReaderSize(c, 512)
	request, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	s.asked.Add(1)
	m := manner(s.manner.Load())
	isPlain := request.Header.Get("Upgrade") == ""
	answer := head("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: "+acceptOf(request.Header.Get("Sec-WebSocket-Key")), "X-Backend: "+s.address)
	switch {
	case m == silent:
		_, _ = io.Copy(io.Discard, r)
		return
	case m == busy, m == unhealthy && isPlain:
		_, _ = io.WriteString(c, head("HTTP/1.1 503 Busy", "Content-Length: 5", "Connection: close")+"busy\n")
		return
	case m == reset:
		_ = c.(*net.TCPConn).SetLinger(0)
		return
	case isPlain:
		_, _ = io.WriteString(c, head("HTTP/1.1 200 OK", "Content-Length: 3", "Connection: close")+"ok\n")
		return
	}
	_, _ = io.WriteString(c, answer)
	for {
		f, err := readFrame(r)
		if err != nil {
			return
		}
		switch {
		case m == deaf:
		case m == talkative && f.Header.OpCode == ws.OpText:
			text := ws.UnmaskFrame(f).Payload
			for range rand.IntN(4) {
				_ = ws.WriteFrame(c, ws.NewTextFrame(text[:len(text)/2]))
			}
		case f.Header.OpCode == ws.OpPing:
			_ = ws.WriteFrame(c, ws.NewPongFrame(ws.UnmaskFrame(f).Payload))
		case f.Header.OpCode == ws.OpClose:
			_ = ws.WriteFrame(c, ws.NewCloseFrame(ws.UnmaskFrame(f).Payload))
			return
		}
	}
}

// startEcho runs `sluice echo` at an address; port 0: any.
func startEcho(t *testing.T, address string) (p *program, listening string) {
	t.Helper()
	cmd := exec.Command(sluice, "echo", "-listen", address)
	var stdout io.Reader
	p = start(t, cmd, func() (err error) {
		stdout, err = cmd.StdoutPipe()
		return err
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("sluice echo -listen %s: %v\n%s", address, err, p.stderr.last())
	}
	return p, strings.TrimSpace(strings.TrimPrefix(line, "echo backend at "))
}

// quietBasics keep the log to what happens to backends, so that the kept end of it has all.
var quietBasics = strings.Replace(basics, "level = \"debug\"", "level = \"info\"\naccess = false", 1)

// poolOf is a configuration with one route to one pool of addresses; keys are those of [[pool]], and
// tables below it.
func poolOf(keys string, addresses ...string) string {
	var members []string
	for _, a := range addresses {
		if !strings.HasPrefix(a, "{") {
			a = fmt.Sprintf("{ address = %q }", a)
		}
		members = append(members, a)
	}
	return quietBasics + "[[route]]\npool = \"pool\"\n[[pool]]\nname = \"pool\"\nbackend = [" + strings.Join(members, ", ") + "]\n" + keys + "\n"
}

// A backendView is what the admin API tells of a backend.
type backendView struct {
	Address   string
	State     string
	Available bool
	Warmth    float64
	Sessions  int
	Failures  map[string]int

	LastFailure struct {
		Reason, Error string
		Since         time.Time
	} `json:"last_failure"`
}

// backends asks the admin API for the backends of the first pool, by address.
func (g *gateway) backends(t *testing.T) map[string]backendView {
	t.Helper()
	response, err := http.Get("http://" + g.admin + "/api/v1/pools")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Pools []struct{ Backends []backendView }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Pools) != 1 {
		t.Fatalf("/api/v1/pools: %d pools, %v", len(answer.Pools), err)
	}
	views := make(map[string]backendView)
	for _, b := range answer.Pools[0].Backends {
		views[b.Address] = b
	}
	return views
}

// untilState waits until a backend is in a state.
func (g *gateway) untilState(t *testing.T, address, state string) backendView {
	t.Helper()
	var view backendView
	eventually(t, patience, address+" is "+state, func() bool {
		view = g.backends(t)[address]
		return view.State == state
	})
	return view
}

// order posts to a backend's path of the admin API.
func (g *gateway) order(t *testing.T, address, what string) {
	t.Helper()
	at := "http://" + g.admin + "/api/v1/pools/pool/backends/" + url.PathEscape(address) + "/" + what
	response, err := http.Post(at, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("POST %s: status %d, %s", at, response.StatusCode, body)
	}
}

// logged returns how often the gateway has logged a message about a backend.
func (g *gateway) logged(message, address string) int {
	n := 0
	for line := range strings.Lines(g.log.String()) {
		if strings.Contains(line, strconv.Quote(message)) && strings.Contains(line, strconv.Quote(address)) {
			n++
		}
	}
	return n
}

// wantLoggedOnce expects one line with a message about a backend. What it tells of may show elsewhere before it is logged.
func (g *gateway) wantLoggedOnce(t *testing.T, message, address string) {
	t.Helper()
	eventually(t, patience, message+" is logged of "+address, func() bool { return g.logged(message, address) > 0 })
	if n := g.logged(message, address); n != 1 {
		t.Errorf("%q is logged of %s %d times", message, address, n)
	}
}

// durationsOf returns the field "for" of the lines that have a message about a backend.
func (g *gateway) durationsOf(message, address string) (all []time.Duration) {
	for line := range strings.Lines(g.log.String()) {
		var fields struct {
			Message string `json:"message"`
			Backend string `json:"backend"`
			For     string `json:"for"`
		}
		if json.Unmarshal([]byte(line), &fields) != nil || fields.Message != message || fields.Backend != address {
			continue
		}
		if d, err := time.ParseDuration(fields.For); err == nil {
			all = append(all, d)
		}
	}
	return all
}
