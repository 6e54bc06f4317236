package peers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"sluice/internal/echo"
)

func TestEachPeerThatIsInstalledRelaysAndStops(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip("taskset is not installed")
	}
	dir := t.TempDir()
	sluice := filepath.Join(dir, "sluice")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", sluice, "./cmd/sluice").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	if err := WriteCertificate(dir); err != nil {
		t.Fatal(err)
	}
	s := Setup{Dir: dir, Sluice: sluice, Cores: "0", Workers: 1, Backend: startBackend(t)}
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			if _, _, err := p.Find(s); err != nil {
				t.Skip(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			process, err := p.Start(ctx, s)
			if err != nil {
				t.Fatal(err)
			}
			defer process.Stop()
			// What is measured is there from the start: nginx listens before it has workers.
			if pids := process.PIDs(); p.Name == "nginx" && len(pids) != 2 {
				t.Errorf("processes %v; want a master and a worker", pids)
			}
			wantEcho(t, ws.Dialer{}, "ws://127.0.0.1:"+strconv.Itoa(process.Plain)+"/")
			if p.HasTLS {
				wantSameTLS(t, filepath.Join(dir, "cert.pem"), process.TLS)
			}
			pids := process.PIDs()
			process.Stop()
			for _, pid := range pids {
				if _, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/root/"); err == nil {
					t.Errorf("process %d is still there", pid)
				}
			}
		})
	}
}

// wantSameTLS dials with all that Go offers but for the hybrid key exchange, as the comparison does, and holds what the peer chooses of it.
func wantSameTLS(t *testing.T, ca string, port int) {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool(), ClientSessionCache: tls.NewLRUClientSessionCache(1),
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}}
	config.RootCAs.AppendCertsFromPEM(pem)
	var conn *tls.Conn
	dialer := ws.Dialer{TLSClient: func(c net.Conn, _ string) net.Conn {
		conn = tls.Client(c, config)
		return conn
	}}
	for _, isResumed := range []bool{false, true} {
		wantEcho(t, dialer, "wss://localhost:"+strconv.Itoa(port)+"/")
		state := conn.ConnectionState()
		key, _ := state.PeerCertificates[0].PublicKey.(*ecdsa.PublicKey)
		if state.Version != tls.VersionTLS13 || state.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || state.CurveID != tls.X25519 || key == nil || key.Curve != elliptic.P256() {
			t.Errorf("%s, %s, %v, key %T; want TLS 1.3, AES-128-GCM, X25519 and ECDSA P-256", tls.VersionName(state.Version),
				tls.CipherSuiteName(state.CipherSuite), state.CurveID, state.PeerCertificates[0].PublicKey)
		}
		if state.DidResume != isResumed {
			t.Errorf("resumed %v; want %v", state.DidResume, isResumed)
		}
	}
}

func wantEcho(t *testing.T, dialer ws.Dialer, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, _, _, err := dialer.Dial(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // Sluice would drain it first
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if p, err := wsutil.ReadServerText(conn); string(p) != "hello" || err != nil {
		t.Errorf("echo by %s = %q, %v", url, p, err)
	}
}

func startBackend(t *testing.T) (port int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- echo.Serve(ctx, ln, echo.Options{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().(*net.TCPAddr).Port
}
