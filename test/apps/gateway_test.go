//go:build unix

package apps

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Where TestMain has put things. Immutable after it.
var (
	sluice      string // the built program
	certificate string // a certificate for loopback and its key, in one file; clients trust it
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

// atOnce is how many tests run at the same time, unless -parallel says so: most of their time is a pause.
const atOnce = "8"

// runTests builds the program, runs the tests, and removes what it built.
func runTests(m *testing.M) int {
	parallel := false
	flag.Visit(func(f *flag.Flag) { parallel = parallel || f.Name == "test.parallel" })
	if !parallel {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic("BUG: " + err.Error())
		}
	}
	directory, err := os.MkdirTemp("", "sluice-apps-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	sluice, certificate = filepath.Join(directory, "sluice"), filepath.Join(directory, "certificate.pem")
	build := exec.Command("go", "build", "-o", sluice, "sluice/cmd/sluice")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build sluice: %v\n%s", err, out)
		return 1
	}
	if err := writeCertificate(certificate); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// writeCertificate writes a certificate that signs itself, and its key.
func writeCertificate(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	return os.WriteFile(path, text, 0o600)
}

// A gateway is a running `sluice run` with a plain listener and one with TLS.
type gateway struct {
	*program
	admin string            // host:port
	urls  map[string]string // plain, TLS
}

// runGateway runs a gateway before backends at ports of loopback. What isn't in route, a part of a [[route]], has its default.
func runGateway(t *testing.T, route string, ports ...int) *gateway {
	t.Helper()
	var backends []string
	for _, port := range ports {
		backends = append(backends, fmt.Sprintf(`{ address = "127.0.0.1:%d" }`, port))
	}
	path := filepath.Join(t.TempDir(), "sluice.toml")
	config := fmt.Sprintf(`
[gateway]
drain = "0s"
[admin]
address = "127.0.0.1:0"
[[listener]]
name = "plain"
address = "127.0.0.1:0"
[[listener]]
name = "TLS"
address = "127.0.0.1:0"
tls = { certificate = [{ cert = %q, key = %q }] }
[[pool]]
name = "app"
backend = [%s]
[[route]]
pool = "app"
%s
`, certificate, certificate, strings.Join(backends, ", "), route)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	lines, w := io.Pipe()
	g := &gateway{urls: map[string]string{}}
	found := make(chan logLine, 3)
	go readLog(lines, found)
	g.program = start(t, exec.Command(sluice, "run", "-config", path), w)
	t.Cleanup(func() {
		g.end()
		_ = w.Close()
		if code := g.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the gateway ends with %d, want 0", code)
		}
		if strings.Contains(g.output.String(), "panic recovered") {
			t.Error("the gateway has recovered a panic: its log has the stack")
		}
	})
	deadline := time.After(patience)
	for g.admin == "" || len(g.urls) < 2 {
		select {
		case <-g.exited:
			t.Fatalf("sluice ended before it listened:\n%s", g.output.String())
		case line := <-found:
			switch {
			case line.Message == "admin listening":
				g.admin = line.Address
			case line.Listener == "TLS":
				g.urls["TLS"] = "https://" + line.Address
			default:
				g.urls["plain"] = "http://" + line.Address
			}
		case <-deadline:
			t.Fatal("sluice doesn't listen")
		}
	}
	return g
}

// A logLine is a line of the log with an address.
type logLine struct {
	Message  string
	Listener string
	Address  string
}

// readLog passes on the addresses of listeners. It ends with the log.
func readLog(log io.Reader, found chan<- logLine) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line logLine
		if json.Unmarshal(lines.Bytes(), &line) == nil && (line.Message == "listening" || line.Message == "admin listening") {
			found <- line
		}
	}
	_, _ = io.Copy(io.Discard, log) // after a line that is too long
}

// ask sends a request to the admin API.
func (g *gateway) ask(t *testing.T, method, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+g.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: status %d, %v: %s", method, path, response.StatusCode, err, text)
	}
	return string(text)
}

// sessions returns how many WebSocket sessions the gateway has had.
func (g *gateway) sessions(t *testing.T) (sum int) {
	t.Helper()
	for line := range strings.Lines(g.ask(t, http.MethodGet, "/metrics")) {
		if !strings.HasPrefix(line, "sluice_sessions_total{") || !strings.Contains(line, `result="established"`) {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
		if err != nil {
			t.Fatalf("metric %q: %v", line, err)
		}
		sum += int(value)
	}
	return sum
}
