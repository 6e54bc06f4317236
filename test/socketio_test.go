//go:build unix

package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var needSocketIO = need{"socket.io", "nodejs npm (Debian), then `npm ci` in test/", hasFile("node_modules/socket.io/package.json", "node")}

// A socketIO is a process of peers/socketio.js.
type socketIO struct {
	*program
	events chan socketIOEvent
}

type socketIOEvent struct {
	Event     string
	Port      int
	Transport string
	Address   string
	Reason    string
	Message   string
}

func startSocketIO(t *testing.T, args ...string) *socketIO {
	t.Helper()
	requires(t, needSocketIO)
	p := &socketIO{events: make(chan socketIOEvent, mostEvents)}
	cmd := exec.Command("node", append([]string{"peers/socketio.js"}, args...)...)
	var stdout io.Reader
	p.program = start(t, cmd, func() (err error) {
		if _, err = cmd.StdinPipe(); err != nil { // the server ends with it
			return err
		}
		stdout, err = cmd.StdoutPipe()
		return err
	})
	go p.read(stdout)
	return p
}

// read passes on what the process tells. It ends with the process.
func (p *socketIO) read(stdout io.Reader) {
	defer close(p.events)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var e socketIOEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e = socketIOEvent{Event: "error", Message: lines.Text()}
		}
		p.events <- e
	}
}

func (p *socketIO) want(t *testing.T, event string) socketIOEvent {
	t.Helper()
	select {
	case e := <-p.events:
		if e.Event != event {
			t.Fatalf("%+v, want the event %s", e, event)
		}
		return e
	case <-time.After(patience):
		t.Fatalf("%v went by without the event %s", patience, event)
		panic("unreachable")
	}
}

// socket.io begins by long polling and goes over to a WebSocket on another connection, with the same session.
func TestSocketIOPollsAndUpgrades(t *testing.T) {
	t.Parallel()
	for _, transports := range []string{"polling,websocket", "websocket", "polling"} {
		t.Run(transports, func(t *testing.T) {
			t.Parallel()
			backend := startSocketIO(t, "serve")
			g := runGateway(t, basics+toPool("/", "pool", backend.want(t, "listening").Port))
			client := startSocketIO(t, "connect", "http://"+g.listeners["public"], transports)

			first, last := transports, transports
			if strings.Contains(transports, ",") {
				first, last = "polling", "websocket"
			}
			if e := client.want(t, "open"); e.Transport != first {
				t.Errorf("opened by %s, want %s", e.Transport, first)
			}
			if e := backend.want(t, "connection"); e.Transport != first || e.Address != "127.0.0.1" {
				t.Errorf("the backend sees %+v, want %s from 127.0.0.1", e, first)
			}
			if first != last {
				client.want(t, "upgrade")
				backend.want(t, "upgrade")
			}
			if e := client.want(t, "done"); e.Transport != last {
				t.Errorf("done by %s, want %s", e.Transport, last)
			}
			if e := backend.want(t, "disconnect"); e.Reason != "client namespace disconnect" {
				t.Errorf("the backend sees the end as %q", e.Reason)
			}
			if code := client.exitCode(t, patience); code != 0 {
				t.Errorf("the client ends with %d", code)
			}
		})
	}
}

// Each event arrives before the next one is sent: nothing on the way collects them.
func TestServerSentEventsArriveOneByOne(t *testing.T) {
	t.Parallel()
	backend := startSocketIO(t, "serve")
	g := runGateway(t, basics+toPool("/", "pool", backend.want(t, "listening").Port))
	url := "http://" + g.listeners["public"]
	client := &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: patience}}
	t.Cleanup(client.CloseIdleConnections)
	stream, err := client.Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if got := stream.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type %q", got)
	}
	lines := bufio.NewReader(stream.Body)
	for i := range 10 {
		text := fmt.Sprintf("event %d", i)
		said, err := client.Post(url+"/say", "text/plain", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		_ = said.Body.Close()
		late := time.AfterFunc(patience, func() { _ = stream.Body.Close() })
		line, err := lines.ReadString('\n')
		if err != nil || line != "data: "+text+"\n" || !late.Stop() {
			t.Fatalf("%q, %v; want %q", line, err, text)
		}
		if line, err = lines.ReadString('\n'); line != "\n" || err != nil {
			t.Fatalf("%q, %v; want an empty line", line, err)
		}
	}
	_ = stream.Body.Close()
	backend.want(t, "stream closed") // the client's end is the backend's
}
