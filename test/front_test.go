//go:build unix

package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// A front is a proxy between the clients and the gateway.
type front struct {
	name  string
	needs need
	// config is the proxy's own, for a port and the gateway's address behind it.
	config func(directory string, port int, behind string) string
	start  func(directory, config string) *exec.Cmd
}

var fronts = []front{
	{
		"nginx", needNginx,
		func(directory string, port int, behind string) string {
			return fmt.Sprintf(`
worker_processes 1; daemon off; pid %[1]s/pid; error_log stderr;
events { worker_connections 100; }
http {
  access_log off;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server {
    listen 127.0.0.1:%[2]d;
    location / {
      proxy_pass http://%[3]s; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto https;
    }
  }
}
`, directory, port, behind)
		},
		func(directory, config string) *exec.Cmd {
			return exec.Command("/usr/sbin/nginx", "-p", directory, "-e", "stderr", "-c", config)
		},
	},
	{
		"HAProxy", needHAProxy,
		func(_ string, port int, behind string) string {
			return fmt.Sprintf(`
defaults
  mode http
  timeout client 1m
  timeout server 1m
  timeout connect 5s
  timeout tunnel 1m
frontend public
  bind 127.0.0.1:%d
  option forwardfor
  http-request set-header X-Forwarded-Proto https
  default_backend gateway
backend gateway
  server one %s
`, port, behind)
		},
		func(_, config string) *exec.Cmd { return exec.Command("/usr/sbin/haproxy", "-db", "-f", config) },
	},
}

func TestASessionPassesAProxyInFrontWhoseForwardedHeadersAreBelieved(t *testing.T) {
	t.Parallel()
	for _, f := range fronts {
		t.Run(f.name, func(t *testing.T) {
			requires(t, f.needs)
			client, backend := startNode(t), startNode(t)
			port := backend.serve(t, true, "chat")
			g := runGateway(t, basics+`trusted_proxies = ["127.0.0.1"]
[[listener]]
name = "believes nobody"
address = "127.0.0.1:0"
`+toPool("/", "pool", port))
			for listener, want := range map[string]struct{ chain, proto string }{
				"public":          {"203.0.113.7, 127.0.0.2, 127.0.0.1", "https"},
				"believes nobody": {"127.0.0.1", "http"},
			} {
				url := startFront(t, f, g.listeners[listener])
				c := client.connect(t, command{URL: url, From: "127.0.0.2", Deflate: true, Subprotocols: []string{"chat"},
					Headers: map[string]string{"X-Forwarded-For": "203.0.113.7", "X-Request-Id": "from-outside", "X_Forwarded_For": "198.51.100.1"}})
				b := backend.accept(t)
				headers := b.opened.Headers
				if headers["x-forwarded-for"] != want.chain || headers["x-forwarded-proto"] != want.proto {
					t.Errorf("listener %s: X-Forwarded-For: %q, -Proto: %q; want %q, %q", listener, headers["x-forwarded-for"], headers["x-forwarded-proto"], want.chain, want.proto)
				}
				if _, isThere := headers["x_forwarded_for"]; isThere {
					t.Errorf("listener %s: another spelling passes: %v", listener, headers)
				}
				if got := headers["x-request-id"]; (got == "from-outside") != (listener == "public") || got == "" {
					t.Errorf("listener %s: X-Request-Id: %q", listener, got)
				}
				c.send(t, false, []byte("to the backend"))
				b.wantMessage(t, false, []byte("to the backend"))
				b.send(t, true, []byte("to the client"))
				c.wantMessage(t, true, []byte("to the client"))
				c.ping(t, "past the proxy")
				c.wantPong(t, "past the proxy")
				b.wantPing(t, "past the proxy")
				b.close(t, 4001, "enough")
				c.wantClose(t, 4001, "enough")
				b.wantClose(t, 4001, "enough")
			}
		})
	}
}

// startFront starts a proxy before the gateway, and returns where clients connect.
func startFront(t *testing.T, f front, behind string) (url string) {
	t.Helper()
	directory := t.TempDir()
	// Workers that are nobody's need to get in.
	if err := os.Chmod(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	path := filepath.Join(directory, "config")
	if err := os.WriteFile(path, []byte(f.config(directory, port, behind)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, f.start(directory, path), nil)
	t.Cleanup(func() {
		// So asked, nginx ends its workers.
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		p.exitCode(t, patience)
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	eventually(t, patience, f.name+" listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return "ws://" + address + "/"
}
