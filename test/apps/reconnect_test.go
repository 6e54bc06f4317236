//go:build unix

package apps

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A reconnecting is a client that comes back by itself when its session ends.
type reconnecting struct {
	library string
	kind    string // of server; "": as the library
	route   string // what its route says beside the defaults
}

var reconnectings = []reconnecting{
	{library: "reconnecting-websocket", kind: "plain"},
	{library: "partysocket", kind: "plain"},
	{library: "robust-websocket", kind: "plain"},
	{library: "sarus", kind: "plain"},
	{library: "ws-reconnect", kind: "plain"},
	{library: "websockets", kind: "plain"}, // Python's
	// A close that is answered completes its stream, whatever the code.
	{library: "rxjs", kind: "plain", route: "close_codes = { backend_lost = 0, drained = 0 }"},
	{library: "graphql-ws"},
	{library: "subscriptions-transport-ws"},
	{library: "trpc"},
	{library: "json-rpc"},
	{library: "socket.io"},
	{library: "sockjs"},
	{library: "stomp"},
	{library: "mqtt"},
	{library: "nats"},
	{library: "wamp"},
	{library: "primus"},
	{library: "faye"},
	{library: "phoenix"},
	{library: "actioncable"},
	{library: "signalr"},
	{library: "centrifuge"},
	{library: "pusher"},
	{library: "y-websocket"},
	{library: "hocuspocus"},
	{library: "colyseus"},
}

// Faults B17.
func TestClientsThatReconnectComeBack(t *testing.T) {
	for _, r := range reconnectings {
		t.Run(r.library, func(t *testing.T) {
			t.Parallel()
			requires(t, "nodejs npm (Debian), then `npm ci` in test/apps", "node", "node_modules/ws/package.json")
			if r.library == "nats" {
				requires(t, "nats-server (Debian)", "nats-server")
			}
			one, other := freePort(t), freePort(t)
			g := runGateway(t, r.route, one, other)
			backend := r.serve(t, one, "first")
			g.drain(t, other, true)
			names := make(nameReader, 64)
			cmd := exec.Command("node", "reconnect/client.js", r.library, g.urls["plain"])
			if r.library == "websockets" {
				requires(t, "python3-websockets (Debian)", "/usr/lib/python3/dist-packages/websockets")
				cmd = exec.Command("/usr/bin/python3", "reconnect/client.py", g.urls["plain"])
			}
			client := start(t, cmd, names)
			names.want(t, client, "first")

			// A backend is killed while there is another.
			standby := r.serve(t, other, "another")
			g.drain(t, other, false)
			backend.kill()
			names.want(t, client, "another")

			// The only one is killed, and starts again.
			standby.kill()
			r.serve(t, other, "restarted")
			names.want(t, client, "restarted")

			// An operator drains one.
			r.serve(t, one, "last")
			g.drain(t, other, true)
			names.want(t, client, "last")
		})
	}
}

// serve starts a server that tells its clients a name.
func (r reconnecting) serve(t *testing.T, port int, name string) *program {
	t.Helper()
	kind := r.kind
	if kind == "" {
		kind = r.library
	}
	cmd := exec.Command("node", "reconnect/server.js", kind, strconv.Itoa(port), name)
	if kind == "nats" {
		path := t.TempDir() + "/" + name
		writeFile(t, path, fmt.Sprintf("server_name: %s\nlisten: \"127.0.0.1:-1\"\nwebsocket { listen: \"127.0.0.1:%d\", no_tls: true }\n", name, port))
		cmd = exec.Command("nats-server", "-c", path)
	}
	p := start(t, cmd, nil)
	p.wantListening(t, port)
	return p
}

// drain takes a backend out of use, or puts it back.
func (g *gateway) drain(t *testing.T, port int, isOut bool) {
	t.Helper()
	action := "undrain"
	if isOut {
		action = "drain"
	}
	g.ask(t, http.MethodPost, fmt.Sprintf("/api/v1/pools/app/backends/127.0.0.1%%3A%d/%s", port, action))
}

// A nameReader passes on the names that a client prints, each in a line "name NAME".
type nameReader chan string

func (r nameReader) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if name, isName := strings.CutPrefix(string(line), "name "); isName {
			r <- strings.TrimSpace(name)
		}
	}
	return len(p), nil
}

// want waits until the client talks to that server.
func (r nameReader) want(t *testing.T, client *program, name string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case got := <-r:
			if got == name {
				return
			}
		case <-client.exited:
			t.Fatalf("the client has ended before it talked to the server %q", name)
		case <-deadline:
			t.Fatalf("%v went by without the client talking to the server %q", patience, name)
		}
	}
}
