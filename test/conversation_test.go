//go:build unix

package test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// pairings are the peers whose sessions are relayed, client first.
var pairings = []struct {
	name            string
	client, backend func(*testing.T) *peer
}{
	{"node to node", startNode, startNode},
	{"node to python", startNode, startPython},
	{"python to node", startPython, startNode},
	{"python to python", startPython, startPython},
}

// offers are what client and backend can do of permessage-deflate.
var offers = []struct {
	name            string
	client, backend bool
}{
	{"without deflate", false, false},
	{"with deflate", true, true},
	{"with deflate of the client alone", true, false},
}

func TestMessagesPassBetweenPeersUnaltered(t *testing.T) {
	t.Parallel()
	for _, pairing := range pairings {
		t.Run(pairing.name, func(t *testing.T) {
			client, backend := pairing.client(t), pairing.backend(t)
			ports := map[bool]int{false: backend.serve(t, false, "second"), true: backend.serve(t, true, "second")}
			g := runGateway(t, basics+toPool("/false", "without", ports[false])+toPool("/true", "with", ports[true]))
			for _, offer := range offers {
				t.Run(offer.name, func(t *testing.T) {
					converse(t, client, backend, g.url(fmt.Sprintf("/%v/path?query=%%20", offer.backend)), offer.client, offer.backend, true)
				})
			}
		})
	}
}

// What the test above shows is worth something only if the peers agree without a gateway, too.
func TestPeersUnderstandEachOtherWithoutTheGateway(t *testing.T) {
	t.Parallel()
	for _, pairing := range pairings {
		t.Run(pairing.name, func(t *testing.T) {
			client, backend := pairing.client(t), pairing.backend(t)
			url := fmt.Sprintf("ws://127.0.0.1:%d/path?query=%%20", backend.serve(t, true, "second"))
			converse(t, client, backend, url, true, true, false)
		})
	}
}

// toPool returns a route and its pool with a single backend.
func toPool(path, name string, port int) string {
	return fmt.Sprintf("[[route]]\npath = %q\npool = %q\n[[pool]]\nname = %q\nbackend = [{ address = \"127.0.0.1:%d\" }]\n", path, name, name, port)
}

// converse opens a session at url, and sends all there is both ways.
func converse(t *testing.T, client, backend *peer, url string, clientDeflates, backendDeflates, isRelayed bool) {
	c := client.connect(t, command{URL: url, Subprotocols: []string{"first", "second"}, Deflate: clientDeflates})
	b := backend.accept(t)
	if !strings.HasSuffix(b.opened.Path, "/path?query=%20") {
		t.Errorf("the backend sees the path %q", b.opened.Path)
	}
	for _, end := range []*conn{c, b} {
		if end.opened.Subprotocol != "second" {
			t.Errorf("%s: subprotocol %q, want second", end.peer.needs.name, end.opened.Subprotocol)
		}
		if isAgreed := strings.HasPrefix(end.opened.Extensions, "permessage-deflate"); isAgreed != (clientDeflates && backendDeflates) {
			t.Errorf("%s: extensions %q, offered %v and %v", end.peer.needs.name, end.opened.Extensions, clientDeflates, backendDeflates)
		}
	}
	for _, way := range [][2]*conn{{c, b}, {b, c}} {
		from, to := way[0], way[1]
		for _, message := range messages() {
			from.send(t, message.isBinary, message.parts...)
			to.wantMessage(t, message.isBinary, bytes.Join(message.parts, nil))
		}
	}
	if isRelayed {
		// Each pong is the gateway's, and so is the ping that the other end sees.
		for _, way := range [][2]*conn{{c, b}, {b, c}} {
			from, to := way[0], way[1]
			from.ping(t, "still there?")
			from.wantPong(t, "still there?")
			to.wantPing(t, "still there?")
		}
	}
	c.close(t, 1000, "done")
	c.wantClose(t, 1000, "done")
	b.wantClose(t, 1000, "done")
	c.wantNothing(t)
	b.wantNothing(t)
}

type message struct {
	isBinary bool
	parts    [][]byte // a frame each
}

// messages are of every kind: empty, short, of all lengths of a header, fragmented, of 1 MiB.
func messages() []message {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	long := bytes.Repeat(append([]byte("a megabyte of what deflates and "), all...), 1<<20/288+1)[:1<<20]
	return []message{
		{false, [][]byte{[]byte("Grüße, 世界 🌍")}},
		{false, [][]byte{{}}},
		{true, [][]byte{{}}},
		{true, [][]byte{all[:125]}},
		{true, [][]byte{all[:126]}},
		{true, [][]byte{all}},
		{true, [][]byte{long[:65535]}},
		{true, [][]byte{long[:65536]}},
		{true, [][]byte{long}},
		{false, [][]byte{[]byte(strings.Repeat("ä", 1<<19))}},
		{false, [][]byte{[]byte("in "), []byte("three "), []byte("fragments")}},
		{true, [][]byte{all[:10], {}, all[10:200], long[:100_000]}},
	}
}
