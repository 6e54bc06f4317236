package test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Peers that speak HTTP/2, none of which we wrote.

// withHTTP2 has the first listener of a configuration speak HTTP/2.
func withHTTP2(config string) string {
	return strings.Replace(config, "[[listener]]\n", "[[listener]]\nhttp2 = \"websocket\"\n", 1)
}

// httpVersions returns the versions of HTTP that the access lines of sessions have, once there are so many.
func (g *gateway) httpVersions(t *testing.T, count int) (all []string) {
	t.Helper()
	eventually(t, patience, fmt.Sprint(count, " access lines"), func() bool {
		all = nil
		for line := range strings.Lines(g.log.String()) {
			var session struct{ Message, HTTP, Path, Room string }
			if json.Unmarshal([]byte(line), &session) == nil && session.Message == "session" {
				all = append(all, session.HTTP)
			}
		}
		return len(all) >= count
	})
	return all
}

func TestMessagesPassBetweenPeersOverHTTP2(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name            string
		client, backend func(*testing.T) *peer
		front, back     bool // which side speaks HTTP/2
		deflate         bool
	}{
		{"node's http2 in front", startNode, startNode, true, false, false},
		{"node's http2 behind", startNode, startNode, false, true, false},
		{"node's http2 on both sides", startNode, startNode, true, true, false},
		{"python's h2 in front", startPythonHTTP2, startPython, true, false, false},
		{"python's h2 in front, with deflate", startPythonHTTP2, startNode, true, false, true},
		{"python's h2 in front, node's http2 behind", startPythonHTTP2, startNode, true, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			client, backend := test.client(t), test.backend(t)
			port := backend.listen(t, command{Subprotocols: []string{"second"}, Deflate: test.deflate, HTTP2: test.back})
			config := basics + toPool("/", "pool", port)
			if test.front {
				config = withHTTP2(config)
			}
			if test.back {
				config += "protocol = \"h2\"\n"
			}
			g := runGateway(t, config)
			// Twice, on the same connections of HTTP/2.
			for range 2 {
				converse(t, client, backend, command{URL: g.url("/path?query=%20"), HTTP2: test.front, Deflate: test.deflate}, test.deflate, true)
			}
			want := map[bool]string{false: "1.1", true: "2"}[test.front]
			if got := g.httpVersions(t, 2); !reflect.DeepEqual(got, []string{want, want}) {
				t.Errorf("the access log has HTTP/%v, want %s", got, want)
			}
		})
	}
}

func TestMessagesPassBetweenPeersOverHTTP2AndTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	site := ca.issue(t, "site")
	client, backend := startNode(t), startNode(t)
	port := backend.listen(t, command{Subprotocols: []string{"second"}, HTTP2: true, TLS: &peerTLS{Cert: site.cert, Key: site.key}})
	g := runGateway(t, withHTTP2(basics)+section("", site)+poolAt(fmt.Sprintf("wss://127.0.0.1:%d", port))+
		fmt.Sprintf("protocol = \"h2\"\n[pool.tls]\nca = %q\n", ca.cert))
	for range 2 {
		converse(t, client, backend, command{URL: "wss" + strings.TrimPrefix(g.url("/path?query=%20"), "ws"), HTTP2: true, TLS: &peerTLS{CA: ca.cert}}, false, true)
	}
}

// http2Fronts are proxies whose clients speak HTTP/1.1, and which carry each session to the gateway over HTTP/2.
var http2Fronts = []front{
	{
		"HAProxy", needHAProxy,
		func(_ string, port int, behind string) string {
			return haproxyConfig(fmt.Sprint(port), behind+" proto h2 ws h2")
		},
		func(_, config string) *exec.Cmd { return exec.Command("/usr/sbin/haproxy", "-db", "-f", config) },
	},
	{
		"nghttpx", needNghttpx,
		func(directory string, port int, behind string) string {
			host, behindPort, _ := strings.Cut(behind, ":")
			return nghttpxConfig(directory, port, host+","+behindPort+";;proto=h2")
		},
		func(_, config string) *exec.Cmd { return exec.Command("/usr/sbin/nghttpx", "--conf="+config) },
	},
}

// http2Backs are proxies that the gateway speaks HTTP/2 to, and whose backends speak HTTP/1.1.
var http2Backs = []front{
	{
		"HAProxy", needHAProxy,
		func(_ string, port int, behind string) string {
			return haproxyConfig(fmt.Sprint(port, " proto h2"), behind)
		},
		func(_, config string) *exec.Cmd { return exec.Command("/usr/sbin/haproxy", "-db", "-f", config) },
	},
	{
		"nghttpx", needNghttpx,
		func(directory string, port int, behind string) string {
			host, behindPort, _ := strings.Cut(behind, ":")
			return nghttpxConfig(directory, port, host+","+behindPort)
		},
		func(_, config string) *exec.Cmd { return exec.Command("/usr/sbin/nghttpx", "--conf="+config) },
	},
}

func haproxyConfig(bind, server string) string {
	return fmt.Sprintf(`
defaults
  mode http
  timeout client 1m
  timeout server 1m
  timeout connect 5s
  timeout tunnel 1m
frontend public
  bind 127.0.0.1:%s
  default_backend behind
backend behind
  server one %s
`, bind, server)
}

func nghttpxConfig(directory string, port int, backend string) string {
	return fmt.Sprintf("frontend=127.0.0.1,%d;no-tls\nbackend=%s\nworkers=1\nerrorlog-file=%s/log\nno-ocsp=yes\n", port, backend, directory)
}

func TestProxiesInFrontCarryEveryClientOverHTTP2(t *testing.T) {
	t.Parallel()
	for _, f := range http2Fronts {
		t.Run(f.name, func(t *testing.T) {
			requires(t, f.needs)
			client, backend := startNode(t), startPython(t)
			g := runGateway(t, withHTTP2(basics)+toPool("/", "pool", backend.serve(t, true, "second")))
			url := startFront(t, f, g.listeners["public"])
			for range 3 {
				converse(t, client, backend, command{URL: url + "path?query=%20", Deflate: true}, true, true)
			}
			if got := g.httpVersions(t, 3); !reflect.DeepEqual(got, []string{"2", "2", "2"}) {
				t.Errorf("the access log has HTTP/%v, want 2", got)
			}
		})
	}
}

func TestProxiesBehindTakeSessionsOverHTTP2(t *testing.T) {
	t.Parallel()
	for _, f := range http2Backs {
		t.Run(f.name, func(t *testing.T) {
			requires(t, f.needs)
			client, backend := startPython(t), startNode(t)
			behind := startFront(t, f, fmt.Sprint("127.0.0.1:", backend.serve(t, true, "second")))
			g := runGateway(t, basics+poolAt(strings.TrimSuffix(strings.TrimPrefix(behind, "ws://"), "/"))+"protocol = \"h2\"\n")
			for range 3 {
				converse(t, client, backend, command{URL: g.url("/path?query=%20"), Deflate: true}, true, true)
			}
		})
	}
}

func TestNghttpGetsAPlainAnswer(t *testing.T) {
	t.Parallel()
	requires(t, needNghttp)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", r.Method, r.URL)
	}))
	defer backend.Close()
	g := runGateway(t, withHTTP2(basics)+poolAt(backend.Listener.Addr().String()))
	out, err := exec.Command("nghttp", "http://"+g.listeners["public"]+"/path?query").CombinedOutput()
	if err != nil || string(out) != "GET /path?query" {
		t.Errorf("nghttp says %q, %v", out, err)
	}
}

// The page comes through the gateway, over HTTP/2, and the browser opens its WebSockets on the connection that it has.
func TestBrowsersOpenWebSocketsOverHTTP2(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	site := ca.issue(t, "site")
	want := pageReport{Echoed: []int{1, 1, 64 << 10, 64 << 10, 1 << 20, 1 << 20}, Closes: [][]any{{1000.0, "", true}, {4321.0, "bye", true}}}
	for i := range 30 {
		want.Burst = append(want.Burst, i)
	}
	for _, browser := range []struct {
		name  string
		need  need
		start func(t *testing.T, ca pair, url, suite string)
	}{
		{"Chromium", needChromium, startChromium},
		{"Firefox", needFirefox, startAnyFirefox},
	} {
		t.Run(browser.name, func(t *testing.T) {
			requires(t, browser.need, needCertutil)
			reports := make(chan pageReport, 1)
			backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/session":
					serveBursts(w, r)
				case "/report":
					var report pageReport
					if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
						report.Error = err.Error()
					}
					reports <- report
				case "/":
					http.ServeFile(w, r, "peers/websocket.html")
				default:
					http.NotFound(w, r)
				}
			}))
			t.Cleanup(backend.Close)
			g := runGateway(t, withHTTP2(basics)+section("", site)+poolAt(backend.Listener.Addr().String()))
			address := g.listeners["public"]
			browser.start(t, ca, "https://"+address+"/#wss://"+address+"/session", "")
			select {
			case got := <-reports:
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v\nwant %+v", got, want)
				}
			case <-time.After(6 * patience):
				t.Fatalf("the page reports nothing; the gateway's log:\n%s", g.log.last())
			}
			if got := g.httpVersions(t, 2); !reflect.DeepEqual(got, []string{"2", "2"}) {
				t.Errorf("the sessions speak HTTP/%v, want 2", got)
			}
		})
	}
}

// startAnyFirefox starts Firefox with its own choice of suites.
func startAnyFirefox(t *testing.T, ca pair, url, _ string) {
	t.Helper()
	home := t.TempDir()
	trust(t, ca, home)
	startBrowser(t, home, "firefox-esr", "--headless", "--no-remote", "--profile", home, url)
}

var needH2spec = need{"h2spec", "module " + h2specCommand + ", as internal/tools/tools.mod pins it", func() bool {
	build := exec.Command("go", "build", "-modfile=internal/tools/tools.mod", "-o", h2spec(), h2specCommand)
	build.Dir = ".."
	return build.Run() == nil
}}

const h2specCommand = "github.com/summerwind/h2spec/cmd/h2spec"

// h2spec returns where the tests build it.
func h2spec() string { return filepath.Join(filepath.Dir(sluice), "h2spec") }

// All of h2spec's tests, but for one where there is no TLS: what isn't the preface is a request of HTTP/1.1 there, and is answered as such.
func TestH2spec(t *testing.T) {
	t.Parallel()
	requires(t, needH2spec)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(backend.Close)
	ca := newAuthority(t, t.TempDir(), "authority")
	site := ca.issue(t, "site")
	for _, isSecure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[isSecure], func(t *testing.T) {
			config, left := withHTTP2(basics), "http2/3.5: Sends invalid connection preface"
			report := filepath.Join(t.TempDir(), "report")
			arguments := []string{"--timeout", "10", "--junit-report", report}
			if isSecure {
				config, left = config+section("", site), ""
				arguments = append(arguments, "--tls", "--insecure")
			}
			g := runGateway(t, config+poolAt(backend.Listener.Addr().String()))
			host, port, _ := strings.Cut(g.listeners["public"], ":")
			out, _ := exec.Command(h2spec(), append(arguments, "--host", host, "--port", port)...).CombinedOutput() // the report has what it finds
			var all struct {
				Suites []struct {
					Cases []struct {
						Package string    `xml:"package,attr"`
						Name    string    `xml:"classname,attr"`
						Error   *struct{} `xml:"error"`
						Failure *struct{} `xml:"failure"`
					} `xml:"testcase"`
				} `xml:"testsuite"`
			}
			text, err := os.ReadFile(report)
			if err == nil {
				err = xml.Unmarshal(text, &all)
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			count := 0
			for _, suite := range all.Suites {
				for _, each := range suite.Cases {
					count++
					if name := each.Package + ": " + each.Name; (each.Error != nil || each.Failure != nil) && name != left {
						t.Errorf("failed: %s", name)
					}
				}
			}
			if count < 145 || t.Failed() {
				t.Errorf("%d tests:\n%s", count, out)
			}
		})
	}
}
