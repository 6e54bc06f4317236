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
					url := g.url(fmt.Sprintf("/%v/path?query=%%20", offer.backend))
					converse(t, client, backend, command{URL: url, Deflate: offer.client}, offer.backend, true)
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
			converse(t, client, backend, command{URL: url, Deflate: true}, true, false)
		})
	}
}

// toPool returns a route and its pool with a single backend.
func toPool(path, name string, port int) string {
	return fmt.Sprintf("[[route]]\npath = %q\npool = %q\n[[pool]]\nname = %q\nbackend = [{ address = \"127.0.0.1:%d\" }]\n", path, name, name, port)
}

// converse opens a session as the client is told, and sends all there is both ways. It returns both ends.
func converse(t *testing.T, client, backend *peer, connect command, backendDeflates, isRelayed bool) (c, b *conn) {
	t.Helper()
	connect.Subprotocols = []string{"first", "second"}
	c, b = client.connect(t, connect), backend.accept(t)
	if !strings.HasSuffix(b.opened.Path, "/path?query=%20") {
		t.Errorf("the backend sees the path %q", b.opened.Path)
	}
	for _, end := range []*conn{c, b} {
		if end.opened.Subprotocol != "second" {
			t.Errorf("%s: subprotocol %q, want second", end.peer.needs.name, end.opened.Subprotocol)
		}
		if isAgreed := strings.HasPrefix(end.opened.Extensions, "permessage-deflate"); isAgreed != (connect.Deflate && backendDeflates) {
			t.Errorf("%s: extensions %q, offered %v and %v", end.peer.needs.name, end.opened.Extensions, connect.Deflate, backendDeflates)
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
	return c, b
}

// The TLS libraries are OpenSSL and Node's copy of it: here it is the applications' own use of them that counts.
func TestMessagesPassBetweenPeersUnalteredOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	site := ca.issue(t, "site")
	for _, test := range []struct {
		name, suite     string
		client, backend func(*testing.T) *peer
		resumes         bool // the client
	}{
		{"node, " + tlsSuites[0], tlsSuites[0], startNode, startNode, true},
		{"node, " + tlsSuites[1], tlsSuites[1], startNode, startNode, true},
		{"node, " + tlsSuites[2], tlsSuites[2], startNode, startNode, true},
		{"python", "", startPython, startPython, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, backend := test.client(t), test.backend(t)
			port := backend.listen(t, command{Subprotocols: []string{"second"}, TLS: &peerTLS{Cert: site.cert, Key: site.key, Suite: test.suite}})
			g := secureGateway(t, section("", site), fmt.Sprintf("wss://127.0.0.1:%d", port), fmt.Sprintf("[pool.tls]\nca = %q", ca.cert))
			connect := command{URL: "wss" + strings.TrimPrefix(g.url("/path?query=%20"), "ws"), TLS: &peerTLS{CA: ca.cert, Suite: test.suite}}
			for i := range 2 {
				c, b := converse(t, client, backend, connect, false, true)
				for _, end := range []*conn{c, b} {
					if end.opened.Suite == "" || test.suite != "" && end.opened.Suite != test.suite {
						t.Errorf("%s: suite %q, want %q", end.peer.needs.name, end.opened.Suite, test.suite)
					}
				}
				if isSecond := i == 1; c.opened.IsResumed != (isSecond && test.resumes) || b.opened.IsResumed != isSecond {
					t.Errorf("session %d: resumed by the client %t, at the backend %t", i, c.opened.IsResumed, b.opened.IsResumed)
				}
			}
		})
	}
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
		{true, [][]byte{all[:1]}},
		{true, [][]byte{all[:125]}},
		{true, [][]byte{all[:126]}},
		{true, [][]byte{all}},
		{true, [][]byte{long[:16384]}},
		{true, [][]byte{long[:65535]}},
		{true, [][]byte{long[:65536]}},
		{true, [][]byte{long}},
		{false, [][]byte{[]byte(strings.Repeat("ä", 1<<19))}},
		{false, [][]byte{[]byte("in "), []byte("three "), []byte("fragments")}},
		{true, [][]byte{all[:10], {}, all[10:200], long[:100_000]}},
	}
}
