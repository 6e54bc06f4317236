//go:build unix

package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// floodBackendVariable is the environment variable that makes the test's binary the backend of a flood.
const floodBackendVariable = "SLUICE_TEST_FLOOD_BACKEND"

// floodBackend is a backend, a process of its own since it has as many descriptors as the gateway: the test's binary.
func floodBackend(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), floodBackendVariable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

// serveFloods is the backend: sessions that echo or push, answers small, large or never, streams of events, and bodies that are read.
func serveFloods() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	panic(http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/silent":
			<-r.Context().Done()
		case r.URL.Path == "/big":
			_, _ = w.Write(make([]byte, 1<<20))
		case r.URL.Path == "/push":
			conn, _, _, err := ws.UpgradeHTTP(r, w)
			for err == nil {
				err = wsutil.WriteServerBinary(conn, make([]byte, 64<<10))
			}
			if conn != nil {
				_ = conn.Close()
			}
		case r.Header.Get("Upgrade") != "":
			conn, _, _, err := ws.UpgradeHTTP(r, w)
			for err == nil {
				var text []byte
				if text, err = wsutil.ReadClientText(conn); err == nil { // it answers pings and closes
					err = wsutil.WriteServerText(conn, text)
				}
			}
			if conn != nil {
				_ = conn.Close()
			}
		case r.URL.Path == "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "hello")
		}
	})))
}
