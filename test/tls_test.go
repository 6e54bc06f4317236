//go:build unix

package test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

var (
	needOpenSSL = need{"openssl", "openssl (Debian)", succeeds("openssl", "version")}
	needCurl    = need{"curl", "curl (Debian)", succeeds("curl", "--version")}
)

// secureGateway serves TLS, as a section says, in front of a backend; keys are those of the pool.
func secureGateway(t *testing.T, section, backend string, keys ...string) *gateway {
	t.Helper()
	return runGateway(t, basics+section+poolAt(backend)+strings.Join(keys, "\n"))
}

// poolAt is a route to a pool of one backend.
func poolAt(address string) string {
	return fmt.Sprintf("[[route]]\npool = \"pool\"\n[[pool]]\nname = \"pool\"\nbackend = [{ address = %q }]\n", address)
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

// A tlsStream is clients over TLS that come one after the other, each for an echo.
type tlsStream struct {
	stop, done chan struct{}

	mu      sync.Mutex
	errs    []error               // guarded by mu
	count   int                   // of those that were served; guarded by mu
	firstOf map[string]*time.Time // when a certificate, by its serial, was first shown; guarded by mu
}

func streamTLS(t *testing.T, g *gateway, config *tls.Config) *tlsStream {
	s := &tlsStream{stop: make(chan struct{}), done: make(chan struct{}), firstOf: map[string]*time.Time{}}
	go func() {
		defer close(s.done)
		for {
			select {
			case <-s.stop:
				return
			case <-time.After(streamGap):
			}
			conn, _, err := openTLS(g, config)
			now := time.Now()
			s.mu.Lock()
			if err != nil {
				s.errs = append(s.errs, err)
			} else {
				s.count++
				serial := conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
				if s.firstOf[serial] == nil {
					s.firstOf[serial] = &now
				}
				_ = conn.Close()
			}
			s.mu.Unlock()
		}
	}()
	t.Cleanup(s.end)
	return s
}

// end ends the stream. It may be called twice.
func (s *tlsStream) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	<-s.done
}

// first returns when a certificate was first shown; nil: not yet.
func (s *tlsStream) first(serial *big.Int) *time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.firstOf[serial.String()]
}

// served returns how many clients were served.
func (s *tlsStream) served() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// wantNoErrors ends the stream, of which every client must have got its session.
func (s *tlsStream) wantNoErrors(t *testing.T) {
	t.Helper()
	s.end()
	if len(s.errs) > 0 {
		t.Errorf("%d of %d new sessions were lost: %v", len(s.errs), s.count+len(s.errs), errors.Join(s.errs...))
	}
	if s.count == 0 {
		t.Error("no new session at all")
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
