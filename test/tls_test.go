package test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

var (
	needOpenSSL = need{"openssl", "openssl (Debian)", succeeds("openssl", "version")}
	needCurl    = need{"curl", "curl (Debian)", succeeds("curl", "--version")}
)

// secureGateway serves TLS, as a section says, in front of a backend.
func secureGateway(t *testing.T, section, backend string) *gateway {
	t.Helper()
	return runGateway(t, basics+section+fmt.Sprintf("[[route]]\npool = \"pool\"\n[[pool]]\nname = \"pool\"\nbackend = [{ address = %q }]\n", backend))
}

// A tlsSession is a client's session over TLS.
type tlsSession struct {
	conn   *tls.Conn
	reader *bufio.Reader
}

// openSession opens a session that lasts as long as the test.
func openSession(t *testing.T, g *gateway, config *tls.Config) *tlsSession {
	t.Helper()
	conn, reader, err := openTLS(g, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &tlsSession{conn, reader}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// openTLS opens a session over TLS.
func openTLS(g *gateway, config *tls.Config) (*tls.Conn, *bufio.Reader, error) {
	c, err := net.DialTimeout("tcp", g.listeners["public"], patience)
	if err != nil {
		return nil, nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(c, config)
	if _, err := io.WriteString(conn, request("/")); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err == nil && answer.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(answer.Status)
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, reader, nil
}

// echoes sends a message and wants it back.
func echoes(t *testing.T, conn *tls.Conn, reader *bufio.Reader, message []byte) {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := wsutil.WriteClientBinary(conn, bytes.Clone(message)); err != nil {
		t.Fatal(err)
	}
	got, _, err := wsutil.ReadServerData(struct {
		io.Reader
		io.Writer
	}{reader, conn})
	if err != nil || !bytes.Equal(got, message) {
		t.Fatalf("%d bytes came back (%v), want the %d that were sent", len(got), err, len(message))
	}
}

func TestClientsOfAllKindsConnectOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	g := secureGateway(t, section("", ca.issue(t, "site")), runEcho(t))
	url := "wss://" + strings.Replace(g.listeners["public"], "127.0.0.1", "localhost", 1) + "/"
	established := func(version string) int {
		return g.count(t, fmt.Sprintf(`sluice_tls_handshakes_total{result="full",version=%q}`, version)) +
			g.count(t, fmt.Sprintf(`sluice_tls_handshakes_total{result="resumed",version=%q}`, version))
	}
	for _, client := range []struct {
		name    string
		needs   []need
		connect func(t *testing.T, version string)
	}{
		{"openssl", []need{needOpenSSL}, func(t *testing.T, version string) {
			cmd := exec.Command("openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", ca.cert, "-tls"+strings.Replace(version, ".", "_", 1),
				"-connect", g.listeners["public"])
			cmd.Stdin = strings.NewReader(request("/") + string(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, ""))))))
			out, _ := cmd.Output() // it ends by the gateway's close_notify
			if !bytes.HasPrefix(out, []byte("HTTP/1.1 101 ")) || !bytes.HasSuffix(out, []byte("\x88\x02\x03\xe8")) {
				t.Errorf("s_client got %q, want 101 and a close with 1000", out)
			}
		}},
		{"curl", []need{needCurl}, func(t *testing.T, version string) {
			out, err := exec.Command("curl", "-sS", "--cacert", ca.cert, "--tlsv"+version, "--tls-max", version, "https"+strings.TrimPrefix(url, "wss")).Output()
			if err != nil || !bytes.Contains(out, []byte("echo backend")) {
				t.Errorf("curl got %q, %v", out, err)
			}
		}},
		{"node", []need{needNode}, func(t *testing.T, version string) {
			script := `import { WebSocket } from "ws"; import { readFileSync } from "node:fs";
const [url, ca, version] = process.argv.slice(1);
const s = new WebSocket(url, { ca: readFileSync(ca), minVersion: version, maxVersion: version });
s.on("open", () => s.send("hello")); s.on("message", (m) => { console.log(m.toString()); s.close(1000); });
s.on("close", (code) => console.log(code)); s.on("error", (e) => console.log(e.message));`
			out, err := exec.Command("node", "--input-type=module", "-e", script, url, ca.cert, "TLSv"+version).CombinedOutput()
			if err != nil || string(out) != "hello\n1000\n" {
				t.Errorf("node told %q, %v; want the echo and 1000", out, err)
			}
		}},
		{"chromium", []need{needBrowser}, func(t *testing.T, version string) {
			script := `import { chromium } from "playwright-core";
const [url, version] = process.argv.slice(1);
const b = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--ssl-version-max=tls" + version] });
const page = await (await b.newContext({ ignoreHTTPSErrors: true })).newPage();
await page.goto(url.replace("wss", "https"));
console.log(await page.evaluate((url) => new Promise((done) => { const s = new WebSocket(url), seen = [];
  s.onopen = () => s.send("hello"); s.onmessage = (m) => { seen.push(m.data); s.close(1000); };
  s.onclose = (e) => done(JSON.stringify([...seen, e.code, e.wasClean])); }), url));
await b.close();`
			out, err := exec.Command("node", "--input-type=module", "-e", script, url, version).CombinedOutput()
			if err != nil || string(out) != "[\"hello\",1000,true]\n" {
				t.Errorf("chromium told %q, %v; want the echo and a clean 1000", out, err)
			}
		}},
	} {
		for version, other := range map[string]string{"1.2": "1.3", "1.3": "1.2"} {
			t.Run(client.name+" "+version, func(t *testing.T) {
				requires(t, client.needs...)
				before, beforeOther := established(version), established(other)
				client.connect(t, version)
				if established(version) == before || established(other) != beforeOther {
					t.Errorf("it didn't speak TLS %s", version)
				}
			})
		}
	}
}

// openTLSTo opens a session whose backend's end is the test's too.
func openTLSTo(t *testing.T, g *gateway, backend rawBackend, ca pair) (*tls.Conn, *bufio.Reader, *wire) {
	t.Helper()
	socket, err := net.DialTimeout("tcp", g.listeners["public"], patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	_ = socket.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(socket, &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"})
	if _, err := io.WriteString(conn, request("/")); err != nil {
		t.Fatal(err)
	}
	b := backend.accept(t)
	b.send(t, switching())
	reader := bufio.NewReader(conn)
	if answer, err := http.ReadResponse(reader, nil); err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %v, %v", answer, err)
	}
	return conn, reader, b
}

// How a client's stream ends makes no difference: WebSocket has a close of its own.
func TestAStreamOverTLSEndsInEitherWay(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	pair := ca.issue(t, "site")
	eachDriver(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(basics)+section("", pair)+fmt.Sprintf("[[route]]\npool = \"pool\"\n[[pool]]\nname = \"pool\"\nbackend = [{ address = %q }]\n", backend.Addr()))
		for name, end := range map[string]func(*tls.Conn) error{
			"close_notify alone":       func(c *tls.Conn) error { return c.CloseWrite() },
			"TCP without close_notify": func(c *tls.Conn) error { return c.NetConn().(*net.TCPConn).CloseWrite() },
			"both":                     func(c *tls.Conn) error { return errors.Join(c.CloseWrite(), c.NetConn().(*net.TCPConn).CloseWrite()) },
		} {
			t.Run(name, func(t *testing.T) {
				conn, reader, b := openTLSTo(t, g, backend, ca)
				if err := wsutil.WriteClientText(conn, []byte("last")); err != nil {
					t.Fatal(err)
				}
				if err := end(conn); err != nil {
					t.Fatal(err)
				}
				b.wantFrame(t, ws.OpText, "last")
				b.wantClose(t, 1001)
				b.send(t, b.frame(ws.OpText, "still heard")+b.closeFrame(1001, ""))
				if f, err := readFrame(reader); err != nil || string(f.Payload) != "still heard" {
					t.Errorf("the client got %q, %v", f.Payload, err)
				}
				if f, err := readFrame(reader); err != nil || f.Header.OpCode != ws.OpClose {
					t.Errorf("the client got %v %q, %v; want a close", f.Header.OpCode, f.Payload, err)
				}
				// Without close_notify crypto/tls says io.ErrUnexpectedEOF.
				if rest, err := io.ReadAll(reader); len(rest) > 0 || err != nil {
					t.Errorf("behind the close %q, %v; want close_notify", rest, err)
				}
				b.wantGone(t)
			})
		}
	})
}

func TestAClientCutOverTLSIsToldToItsBackend(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	backend := listenRaw(t)
	g := secureGateway(t, section("", ca.issue(t, "site")), backend.Addr().String())
	conn, _, b := openTLSTo(t, g, backend, ca)
	_ = conn.NetConn().(*net.TCPConn).SetLinger(0)
	_ = conn.NetConn().Close()
	b.wantClose(t, 1001)
	b.wantGone(t)
}

// halfOpen begins n TLS handshakes that don't go on.
func halfOpen(t *testing.T, g *gateway, n int) (conns []net.Conn) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", g.listeners["public"])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.Write([]byte{22, 3, 1, 2, 0, 1}); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	return conns
}

func TestHalfOpenTLSHandshakesLeaveLiveSessionsAlone(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	g := secureGateway(t, section("", ca.issue(t, "site")), runEcho(t))
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	live := openSession(t, g, config)
	const trips = 200
	median := func() time.Duration {
		var took []time.Duration
		for range trips {
			begin := time.Now()
			echoes(t, live.conn, live.reader, []byte("hello"))
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		return took[trips/2]
	}
	before := median()
	halfOpen(t, g, 1000)
	during := median()
	t.Logf("a round trip takes %v, beside 1,000 half-open handshakes %v", before, during)
	if during > 10*before+5*time.Millisecond {
		t.Errorf("a round trip takes %v beside 1,000 handshakes that don't go on, without them %v", during, before)
	}
	openSession(t, g, config) // a new one beside them
}

func TestTLSHandshakesAreBoundedInNumberAndTime(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	const most = 8
	g := secureGateway(t, fmt.Sprintf("max_handshakes = %d\nhead_timeout = \"2s\"\n", most)+section("", ca.issue(t, "site")), runEcho(t))
	live := openSession(t, g, config)
	eventually(t, patience, "the first handshake is over", func() bool { return g.handshakes(t) == 0 })
	begun := halfOpen(t, g, most)
	eventually(t, patience, "all handshakes are taken", func() bool { return g.handshakes(t) == most })
	if _, _, err := openTLS(g, config); err == nil {
		t.Errorf("a session begins beside %d handshakes, with max_handshakes = %d", most, most)
	}
	if n := g.count(t, "sluice_handshakes_rejected_total"); n != 1 {
		t.Errorf("%d refusals counted, want 1", n)
	}
	echoes(t, live.conn, live.reader, []byte("hello"))
	for _, c := range begun { // by the gateway, when their time is up
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if rest, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a handshake that doesn't go on isn't ended: %q", rest)
		}
	}
	eventually(t, patience, "a new session begins", func() bool {
		conn, _, err := openTLS(g, config)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if n := g.count(t, `sluice_tls_handshakes_total{result="timeout",version="none"}`); n != most {
		t.Errorf("%d timed out handshakes counted, want %d", n, most)
	}
}

// handshakes returns how many handshakes the listener "public" has under way.
func (g *gateway) handshakes(t *testing.T) int {
	t.Helper()
	response, err := http.Get("http://" + g.admin + "/api/v1/listeners")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Listeners []struct{ Handshakes int }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Listeners) == 0 {
		t.Fatalf("/api/v1/listeners: %+v, %v", answer, err)
	}
	return answer.Listeners[0].Handshakes
}

func TestAKeyUpdateComesInTheMiddleOfALargeFrame(t *testing.T) {
	t.Parallel()
	requires(t, needOpenSSL)
	ca := newAuthority(t, t.TempDir(), "authority")
	g := secureGateway(t, section("", ca.issue(t, "site")), runEcho(t))
	cmd := exec.Command("openssl", "s_client", "-CAfile", ca.cert, "-tls1_3", "-connect", g.listeners["public"])
	var out, told tail
	cmd.Stdout, cmd.Stderr = &out, &told
	var stdin io.WriteCloser
	start(t, cmd, func() (err error) {
		stdin, err = cmd.StdinPipe()
		return err
	})
	write := func(text string) {
		if _, err := io.WriteString(stdin, text); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, patience, "the TLS handshake is done", func() bool { return strings.Contains(out.String(), "Verify return code: 0") })
	write(request("/"))
	eventually(t, patience, "101", func() bool { return strings.Contains(out.String(), "101 Switching") })
	const half = 40_000
	// With a masking key of zeros no part of it looks like one of s_client's commands.
	header := ws.Header{Fin: true, OpCode: ws.OpBinary, Masked: true, Length: 2 * half}
	var frame bytes.Buffer
	if err := ws.WriteHeader(&frame, header); err != nil {
		t.Fatal(err)
	}
	before := strings.Count(out.String(), "~")
	write(frame.String() + strings.Repeat("~", half))
	eventually(t, patience, "the first half is back", func() bool { return strings.Count(out.String(), "~") == before+half })
	write("K\n") // a KeyUpdate that asks for one
	eventually(t, patience, "it is sent", func() bool { return strings.Contains(told.String(), "KEYUPDATE") })
	write(strings.Repeat("~", half))
	eventually(t, patience, "the whole frame is back", func() bool { return strings.Count(out.String(), "~") == before+2*half })
}
