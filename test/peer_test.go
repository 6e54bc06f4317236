//go:build unix

package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// A peer is a process that opens and accepts WebSocket connections with a library that none of us
// wrote. It is told what to do by a JSON object a line, and tells by such lines what happens.
type peer struct {
	*program
	needs    need
	commands io.Writer

	mu sync.Mutex

	connections map[int]chan event // guarded by mu; 0: what concerns no connection
	count       int                // guarded by mu: connections that were handed out
}

// A command is what a peer does. Fields that an action doesn't use are not read.
type command struct {
	Do           string            `json:"do"` // serve, connect, send, ping, close
	Conn         int               `json:"conn"`
	URL          string            `json:"url"`
	From         string            `json:"from,omitempty"` // the address to connect from; node only
	Headers      map[string]string `json:"headers,omitempty"`
	Subprotocols []string          `json:"subprotocols"`
	Deflate      bool              `json:"deflate"`
	Parts        [][]byte          `json:"parts"` // of a message, a frame each
	IsBinary     bool              `json:"isBinary"`
	Data         []byte            `json:"data"` // of a ping
	Code         int               `json:"code"` // of a close; 0: none
	Reason       string            `json:"reason"`
	TLS          *peerTLS          `json:"tls,omitempty"`   // of serve and connect; nil: in clear
	HTTP2        bool              `json:"http2,omitempty"` // of serve and connect: RFC 8441; Node without deflate

	// Of Node only, in milliseconds: the heartbeat that ws's README recommends.
	PingEvery  int `json:"pingEvery,omitempty"`  // of what serve accepts: how often the server pings
	PingWithin int `json:"pingWithin,omitempty"` // of connect: the client ends the connection if it sees no ping for that long
}

// A peerTLS is what a peer does with TLS 1.3.
type peerTLS struct {
	CA    string `json:"ca"`    // of connect: a file
	Cert  string `json:"cert"`  // of serve: a file
	Key   string `json:"key"`   // of serve: a file
	Suite string `json:"suite"` // the only one; "": any. Python's ssl can't choose, before 3.14
}

// An event is what happened to a peer.
type event struct {
	Event       string            `json:"event"` // listening, open, message, ping, pong, close, error
	Conn        int               `json:"conn"`
	Port        int               `json:"port,omitempty"`
	Path        string            `json:"path,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"` // names in lower case, several lines joined by ", "
	Subprotocol string            `json:"subprotocol,omitempty"`
	Extensions  string            `json:"extensions,omitempty"`
	Suite       string            `json:"suite,omitempty"`     // of TLS
	IsResumed   bool              `json:"isResumed,omitempty"` // a session of TLS
	IsBinary    bool              `json:"isBinary,omitempty"`
	Data        []byte            `json:"data,omitempty"`
	Code        int               `json:"code,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Message     string            `json:"message,omitempty"` // of an error
}

// String returns what is short enough for a failure.
func (e event) String() string {
	text, err := json.Marshal(e)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return fmt.Sprintf("%.400s", text)
}

// mostEvents may wait to be looked at, of one connection.
const mostEvents = 1024

// startNode starts a peer of Node's ws.
func startNode(t *testing.T) *peer {
	t.Helper()
	return startPeer(t, needNode, "node", "peers/node.js")
}

// startPython starts a peer of python3-websockets.
func startPython(t *testing.T) *peer {
	t.Helper()
	return startPeer(t, needPython, "/usr/bin/python3", "peers/python.py")
}

// startPythonHTTP2 starts a peer of python3-h2 and python3-wsproto, which connects over HTTP/2 only.
func startPythonHTTP2(t *testing.T) *peer {
	t.Helper()
	return startPeer(t, needPythonHTTP2, "/usr/bin/python3", "peers/http2.py")
}

func startPeer(t *testing.T, needs need, name string, args ...string) *peer {
	t.Helper()
	requires(t, needs)
	p := &peer{needs: needs, connections: map[int]chan event{}}
	cmd := exec.Command(name, args...)
	var events io.Reader
	p.program = start(t, cmd, func() (err error) {
		if p.commands, err = cmd.StdinPipe(); err != nil {
			return err
		}
		events, err = cmd.StdoutPipe()
		return err
	})
	go p.read(events)
	return p
}

// read hands events to their connections. It ends with the process.
func (p *peer) read(events io.Reader) {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			e = event{Event: "error", Message: string(line)}
		}
		select {
		case p.events(e.Conn) <- e:
		default:
			panic("BUG: more events of a connection than a test looks at")
		}
	}
}

// events returns what happens to a connection.
func (p *peer) events(conn int) chan event {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.connections[conn]
	if c == nil {
		c = make(chan event, mostEvents)
		p.connections[conn] = c
	}
	return c
}

func (p *peer) do(t *testing.T, c command) {
	t.Helper()
	line, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.commands.Write(append(line, '\n')); err != nil {
		t.Fatalf("tell %s to %s: %v", p.needs.name, c.Do, err)
	}
}

// serve makes the peer listen, and returns the port.
func (p *peer) serve(t *testing.T, deflate bool, subprotocols ...string) int {
	t.Helper()
	return p.listen(t, command{Subprotocols: subprotocols, Deflate: deflate})
}

// listen is serve with all that it can be told.
func (p *peer) listen(t *testing.T, c command) int {
	t.Helper()
	c.Do = "serve"
	c.Subprotocols = append([]string{}, c.Subprotocols...)
	p.do(t, c)
	return (&conn{peer: p}).want(t, "listening").Port
}

// A conn is one end of a connection, at a peer.
type conn struct {
	peer   *peer
	number int
	opened event
}

// connect opens a connection and waits until it is open.
func (p *peer) connect(t *testing.T, c command) *conn {
	t.Helper()
	c.Do = "connect"
	if c.Subprotocols == nil {
		c.Subprotocols = []string{}
	}
	p.do(t, c)
	return p.accept(t)
}

// accept waits for the next connection of the peer. Peers count them from 1.
func (p *peer) accept(t *testing.T) *conn {
	t.Helper()
	p.mu.Lock()
	p.count++
	c := &conn{peer: p, number: p.count}
	p.mu.Unlock()
	c.opened = c.want(t, "open")
	return c
}

// next returns the next thing that happens to the connection.
func (c *conn) next(t *testing.T) event {
	t.Helper()
	select {
	case e := <-c.peer.events(c.number):
		return e
	case <-time.After(patience):
		t.Fatalf("%s, connection %d: nothing happens", c.peer.needs.name, c.number)
		panic("unreachable")
	}
}

// want is next, for an event of that kind and no other.
func (c *conn) want(t *testing.T, kind string) event {
	t.Helper()
	e := c.next(t)
	if e.Event != kind {
		t.Fatalf("%s, connection %d: got %v, want the event %s", c.peer.needs.name, c.number, e, kind)
	}
	return e
}

// wantNothing checks that nothing happened that the test hasn't looked at.
func (c *conn) wantNothing(t *testing.T) {
	t.Helper()
	select {
	case e := <-c.peer.events(c.number):
		t.Fatalf("%s, connection %d: got %v, want nothing", c.peer.needs.name, c.number, e)
	default:
	}
}

func (c *conn) send(t *testing.T, isBinary bool, parts ...[]byte) {
	t.Helper()
	c.peer.do(t, command{Do: "send", Conn: c.number, IsBinary: isBinary, Parts: parts})
}

func (c *conn) ping(t *testing.T, data string) {
	t.Helper()
	c.peer.do(t, command{Do: "ping", Conn: c.number, Data: []byte(data)})
}

func (c *conn) close(t *testing.T, code int, reason string) {
	t.Helper()
	c.peer.do(t, command{Do: "close", Conn: c.number, Code: code, Reason: reason})
}

// wantMessage waits for a message with that content.
func (c *conn) wantMessage(t *testing.T, isBinary bool, data []byte) {
	t.Helper()
	e := c.want(t, "message")
	if e.IsBinary != isBinary || string(e.Data) != string(data) {
		t.Fatalf("%s, connection %d: message binary=%v of %d bytes %.60q, want binary=%v of %d bytes %.60q",
			c.peer.needs.name, c.number, e.IsBinary, len(e.Data), e.Data, isBinary, len(data), data)
	}
}

// wantPong waits for the answer to a ping.
func (c *conn) wantPong(t *testing.T, data string) {
	t.Helper()
	if e := c.want(t, "pong"); string(e.Data) != data {
		t.Fatalf("%s, connection %d: pong %q, want %q", c.peer.needs.name, c.number, e.Data, data)
	}
}

// wantPing waits for a ping. python3-websockets answers pings and tells nothing of them.
func (c *conn) wantPing(t *testing.T, data string) {
	t.Helper()
	if c.peer.needs.name == needPython.name {
		return
	}
	if e := c.want(t, "ping"); string(e.Data) != data {
		t.Fatalf("%s, connection %d: ping %q, want %q", c.peer.needs.name, c.number, e.Data, data)
	}
}

// wantClose waits until the connection has ended, with that code and reason.
func (c *conn) wantClose(t *testing.T, code int, reason string) {
	t.Helper()
	if e := c.want(t, "close"); e.Code != code || e.Reason != reason {
		t.Fatalf("%s, connection %d: closed with %d %q, want %d %q", c.peer.needs.name, c.number, e.Code, e.Reason, code, reason)
	}
}
