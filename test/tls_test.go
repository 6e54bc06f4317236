package test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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

// A pair is a self-signed certificate and its key, in files.
type pair struct {
	cert, key string
	parsed    *x509.Certificate
}

// writePair makes a certificate for localhost whose subject is name, in place of what is in the files.
func writePair(t *testing.T, directory, file, name string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{cert: filepath.Join(directory, file+".pem"), key: filepath.Join(directory, file+".key")}
	if p.parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{p.key: {Type: "PRIVATE KEY", Bytes: keyDER}, p.cert: {Type: "CERTIFICATE", Bytes: der}} {
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// pool returns who trusts the certificate.
func (p pair) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.parsed)
	return pool
}

// secureGateway serves TLS with the pair in front of an echo backend. more is added to [listener.tls].
func secureGateway(t *testing.T, p pair, more string) *gateway {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	_ = ln.Close()
	start(t, exec.Command(sluice, "echo", "-listen", address), nil)
	eventually(t, patience, "the backend listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return runGateway(t, basics+fmt.Sprintf(`
[listener.tls]
certificate = [{ cert = %q, key = %q }]
%s
[[route]]
pool = "echo"
[[pool]]
name = "echo"
backend = [{ address = %q }]
`, p.cert, p.key, more, address))
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
	p := writePair(t, t.TempDir(), "a", "first")
	g := secureGateway(t, p, "")
	url := "wss://" + strings.Replace(g.listeners["public"], "127.0.0.1", "localhost", 1) + "/"
	for _, version := range []string{"1.2", "1.3"} {
		t.Run("openssl "+version, func(t *testing.T) {
			requires(t, needOpenSSL)
			cmd := exec.Command("openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", p.cert, "-tls"+strings.Replace(version, ".", "_", 1),
				"-connect", g.listeners["public"])
			cmd.Stdin = strings.NewReader(request("/") + string(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, ""))))))
			out, _ := cmd.Output() // it ends by the gateway's close_notify
			if !bytes.HasPrefix(out, []byte("HTTP/1.1 101 ")) || !bytes.HasSuffix(out, []byte("\x88\x02\x03\xe8")) {
				t.Errorf("s_client got %q, want 101 and a close with 1000", out)
			}
		})
		t.Run("curl "+version, func(t *testing.T) {
			requires(t, needCurl)
			out, err := exec.Command("curl", "-sS", "--cacert", p.cert, "--tlsv"+version, "--tls-max", version, "https"+strings.TrimPrefix(url, "wss")).Output()
			if err != nil || !bytes.Contains(out, []byte("echo backend")) {
				t.Errorf("curl got %q, %v", out, err)
			}
		})
		t.Run("node "+version, func(t *testing.T) {
			requires(t, needNode)
			script := `import { WebSocket } from "ws"; import { readFileSync } from "node:fs";
const [url, ca, version] = process.argv.slice(1);
const s = new WebSocket(url, { ca: readFileSync(ca), minVersion: version, maxVersion: version });
s.on("open", () => s.send("hello")); s.on("message", (m) => { console.log(m.toString()); s.close(1000); });
s.on("close", (code) => console.log(code)); s.on("error", (e) => console.log(e.message));`
			out, err := exec.Command("node", "--input-type=module", "-e", script, url, p.cert, "TLSv"+version).CombinedOutput()
			if err != nil || string(out) != "hello\n1000\n" {
				t.Errorf("node told %q, %v; want the echo and 1000", out, err)
			}
		})
	}
	t.Run("chromium", func(t *testing.T) {
		requires(t, needBrowser)
		script := `import { chromium } from "playwright-core";
const [url] = process.argv.slice(1);
const b = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--no-first-run"] });
const page = await (await b.newContext({ ignoreHTTPSErrors: true })).newPage();
await page.goto(url.replace("wss", "https"));
console.log(await page.evaluate((url) => new Promise((done) => { const s = new WebSocket(url), seen = [];
  s.onopen = () => s.send("hello"); s.onmessage = (m) => { seen.push(m.data); s.close(1000); };
  s.onclose = (e) => done(JSON.stringify([...seen, e.code, e.wasClean])); }), url));
await b.close();`
		out, err := exec.Command("node", "--input-type=module", "-e", script, url).CombinedOutput()
		if err != nil || string(out) != "[\"hello\",1000,true]\n" {
			t.Errorf("chromium told %q, %v; want the echo and a clean 1000", out, err)
		}
	})
}

func TestACertificateIsReplacedUnderLiveSessions(t *testing.T) {
	directory := t.TempDir()
	before := writePair(t, directory, "a", "before")
	g := secureGateway(t, before, "")
	config := &tls.Config{InsecureSkipVerify: true}
	const count = 200
	var conns [count]*tls.Conn
	var readers [count]*bufio.Reader
	for i := range conns {
		var err error
		if conns[i], readers[i], err = openTLS(g, config); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	writePair(t, directory, "a", "after")
	shown := func() string {
		conn, _, err := openTLS(g, config)
		if err != nil {
			t.Fatalf("a new session: %v", err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	eventually(t, patience, "new sessions get the new certificate", func() bool { return shown() == "after" })
	if err := os.WriteFile(before.cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the broken one is counted", func() bool { return g.count(t, `sluice_certificate_reloads_total{result="refused"}`) > 0 })
	if name := shown(); name != "after" {
		t.Errorf("behind a broken replacement %q is shown", name)
	}
	message := bytes.Repeat([]byte("x"), 70_000)
	for i := range conns {
		echoes(t, conns[i], readers[i], message)
	}
}

func TestAClientWithoutTheRightCertificateGetsAnAlertAndNoErrorLine(t *testing.T) {
	directory := t.TempDir()
	server, client, stranger := writePair(t, directory, "a", "server"), writePair(t, directory, "b", "device 7"), writePair(t, directory, "c", "stranger")
	g := secureGateway(t, server, fmt.Sprintf("client_auth = \"require\"\nclient_ca = %q\n", client.cert))
	for name, of := range map[string]*pair{"none": nil, "a stranger's": &stranger, "the right one": &client} {
		config := &tls.Config{RootCAs: server.pool(), ServerName: "localhost"}
		if of != nil {
			cert, err := tls.LoadX509KeyPair(of.cert, of.key)
			if err != nil {
				t.Fatal(err)
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		}
		conn, reader, err := openTLS(g, config)
		var operation *net.OpError
		switch {
		case of == &client && err == nil:
			echoes(t, conn, reader, []byte("hello"))
			_ = conn.Close()
		case of == &client || !errors.As(err, &operation) || operation.Op != "remote error":
			t.Errorf("certificate: %s: %v", name, err)
		}
	}
	if n := g.count(t, `sluice_tls_handshakes_total{result="client_certificate",version="1.3"}`); n != 2 {
		t.Errorf("%d handshakes ended for a client's certificate, want 2", n)
	}
	if log := g.log.String(); strings.Contains(log, `"level":"error"`) || !strings.Contains(log, "TLS handshake ended") {
		t.Errorf("a client's mistake is a debug line, and no error:\n%s", g.log.last())
	}
}

func TestHTTPOnATLSPortIsToldSo(t *testing.T) {
	g := secureGateway(t, writePair(t, t.TempDir(), "a", "server"), "")
	response, err := http.Get("http://" + g.listeners["public"] + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "TLS") {
		t.Errorf("status %d, %q", response.StatusCode, body)
	}
}

func TestHalfOpenTLSHandshakesLeaveLiveSessionsAlone(t *testing.T) {
	p := writePair(t, t.TempDir(), "a", "server")
	g := secureGateway(t, p, "")
	config := &tls.Config{RootCAs: p.pool(), ServerName: "localhost"}
	conn, reader, err := openTLS(g, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 1000 {
		c, err := net.Dial("tcp", g.listeners["public"])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte{22, 3, 1, 2, 0, 1}); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	const trips = 200
	for range trips {
		echoes(t, conn, reader, []byte("hello"))
	}
	if took := time.Since(begin); took > trips*20*time.Millisecond {
		t.Errorf("%d round trips took %v beside 1,000 handshakes that don't go on", trips, took)
	}
	if conn, _, err := openTLS(g, config); err != nil {
		t.Errorf("a new session beside them: %v", err)
	} else {
		_ = conn.Close()
	}
}

func TestAKeyUpdateComesInTheMiddleOfALargeFrame(t *testing.T) {
	requires(t, needOpenSSL)
	p := writePair(t, t.TempDir(), "a", "server")
	g := secureGateway(t, p, "")
	cmd := exec.Command("openssl", "s_client", "-CAfile", p.cert, "-tls1_3", "-connect", g.listeners["public"])
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
