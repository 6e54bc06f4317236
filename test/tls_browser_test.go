//go:build unix

package test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

var (
	needChromium = need{"Chromium", "chromium (Debian)", succeeds("chromium", "--version")}
	needFirefox  = need{"Firefox", "firefox-esr (Debian)", succeeds("firefox-esr", "--version")}
	needCertutil = need{"certutil", "libnss3-tools (Debian)", hasFile("/usr/bin/certutil")}
)

// A pageReport is what peers/websocket.html posts.
type pageReport struct {
	Error         string
	Echoed, Burst []int
	Closes        [][]any // code, reason, wasClean

	suite uint16 // of the connection on which the page came
}

// The page comes over TLS of crypto/tls, with the suites that the browser is held to. It opens two sessions, one after the other.
func TestBrowsersTalkOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	site := ca.issue(t, "site")
	backend := httptest.NewServer(http.HandlerFunc(serveBursts))
	t.Cleanup(backend.Close)
	g := secureGateway(t, section("", site), backend.Listener.Addr().String())
	resumed := func() int { return g.count(t, `sluice_tls_handshakes_total{result="resumed",version="1.3"}`) }
	want := pageReport{Echoed: []int{1, 1, 64 << 10, 64 << 10, 1 << 20, 1 << 20}, Closes: [][]any{{1000.0, "", true}, {4321.0, "bye", true}}}
	for i := range 30 {
		want.Burst = append(want.Burst, i)
	}
	for _, browser := range []struct {
		name  string
		need  need
		start func(t *testing.T, ca pair, url, suite string)
		suite string // the only one; "": any, Chromium can't choose
	}{
		{"Chromium", needChromium, startChromium, ""},
		{"Firefox " + tlsSuites[0], needFirefox, startFirefox, tlsSuites[0]},
		{"Firefox " + tlsSuites[1], needFirefox, startFirefox, tlsSuites[1]},
		{"Firefox " + tlsSuites[2], needFirefox, startFirefox, tlsSuites[2]},
	} {
		t.Run(browser.name, func(t *testing.T) {
			requires(t, browser.need, needCertutil)
			reports := make(chan pageReport, 1)
			page := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/report" {
					http.ServeFile(w, r, "peers/websocket.html")
					return
				}
				report := pageReport{suite: r.TLS.CipherSuite}
				if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
					report.Error = err.Error()
				}
				reports <- report
			}))
			page.Config.ErrorLog = log.New(io.Discard, "", 0) // Chromium ends a connection that it doesn't need
			page.TLS = &tls.Config{Certificates: []tls.Certificate{*site.certificate()}, MinVersion: tls.VersionTLS13}
			page.StartTLS()
			t.Cleanup(page.Close)
			before := resumed()
			browser.start(t, ca, page.URL+"/#wss://"+g.listeners["public"]+"/", browser.suite)
			select {
			case got := <-reports:
				if suite := tls.CipherSuiteName(got.suite); browser.suite != "" && suite != browser.suite {
					t.Errorf("it speaks %s, want %s", suite, browser.suite)
				}
				if got.suite = 0; !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v\nwant %+v", got, want)
				}
				if resumed() != before+1 {
					t.Error("the second connection resumes no session of TLS")
				}
			case <-time.After(6 * patience):
				t.Fatal("the page reports nothing")
			}
		})
	}
}

// serveBursts echoes messages, but for two: "burst" is answered with 30, "close" with a close.
func serveBursts(w http.ResponseWriter, r *http.Request) {
	conn, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		message, opcode, err := wsutil.ReadClientData(conn)
		switch {
		case err != nil:
			return
		case string(message) == "burst":
			for i := range 30 {
				err = wsutil.WriteServerText(conn, strconv.AppendInt(nil, int64(i), 10))
			}
		case string(message) == "close":
			err = ws.WriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(4321, "bye")))
		default:
			err = wsutil.WriteServerMessage(conn, opcode, message)
		}
		if err != nil {
			return
		}
	}
}

func startChromium(t *testing.T, ca pair, url, _ string) {
	t.Helper()
	home := t.TempDir()
	trust(t, ca, filepath.Join(home, ".pki", "nssdb"))
	startBrowser(t, home, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-breakpad", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--user-data-dir="+filepath.Join(home, "profile"), url)
}

func startFirefox(t *testing.T, ca pair, url, suite string) {
	t.Helper()
	home := t.TempDir()
	trust(t, ca, home)
	preferences := ""
	for _, other := range tlsSuites {
		preferences += fmt.Sprintf("user_pref(\"security.tls13.%s\", %t);\n", strings.ToLower(strings.TrimPrefix(other, "TLS_")), other == suite)
	}
	if err := os.WriteFile(filepath.Join(home, "user.js"), []byte(preferences), 0o600); err != nil {
		t.Fatal(err)
	}
	startBrowser(t, home, "firefox-esr", "--headless", "--no-remote", "--profile", home, url)
}

// trust makes a database of certificates for a browser that trusts an authority.
func trust(t *testing.T, ca pair, directory string) {
	t.Helper()
	if err := os.MkdirAll(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{{"-N", "--empty-password"}, {"-A", "-n", "authority", "-t", "C,,", "-i", ca.cert}} {
		if out, err := exec.Command("certutil", append(arguments, "-d", "sql:"+directory)...).CombinedOutput(); err != nil {
			t.Fatalf("certutil %v: %v\n%s", arguments, err, out)
		}
	}
}

// startBrowser starts a browser that ends, with the processes that it starts, with the test.
func startBrowser(t *testing.T, home, name string, arguments ...string) {
	t.Helper()
	cmd := exec.Command(name, arguments...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := start(t, cmd, nil)
	t.Cleanup(func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
}
