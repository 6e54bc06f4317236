package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/upgrade"
)

// A shape is a sequence of bytes that two parsers may read differently. A file of testdata/smuggling/*.txt has a comment, the statuses of the
// answers on either path, an empty line, and the bytes. Each line of the bytes is a Go string without its quotes.
type shape struct {
	name             string
	plain, websocket []int
	bytes            string
}

func readShapes(t *testing.T) (all []shape) {
	t.Helper()
	files, err := filepath.Glob("testdata/smuggling/*.txt")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d shapes, %v; want 60 and more", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := shape{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		about, lines, _ := strings.Cut(string(text), "\n\n")
		for line := range strings.SplitSeq(about, "\n") {
			key, value, _ := strings.Cut(line, ": ")
			var statuses []int
			for word := range strings.FieldsSeq(value) {
				status, _ := strconv.Atoi(word)
				statuses = append(statuses, status)
			}
			switch strings.TrimSuffix(key, ":") {
			case "plain":
				s.plain = statuses
			case "websocket":
				s.websocket = statuses
			}
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(lines, "\n"), "\n") {
			part, err := strconv.Unquote(`"` + line + `"`)
			if err != nil {
				t.Fatalf("%s: line %q: %v", file, line, err)
			}
			s.bytes += part
		}
		all = append(all, s)
	}
	return all
}

// asWebSocket makes a WebSocket request of a shape: it puts the necessary fields first.
func (s shape) asWebSocket() string {
	line, rest, _ := strings.Cut(s.bytes, "\n")
	if strings.TrimSpace(line) == "" {
		return s.bytes
	}
	line = strings.Replace(line, "POST", "GET", 1)
	return line + "\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + sampleKey + "\r\n" + rest
}

// TestABackendReadsRequestsAsTheGatewayDoes sends every shape on both paths, as the first and as the second request of a
// connection, to a backend that reads with net/http's parser.
func TestABackendReadsRequestsAsTheGatewayDoes(t *testing.T) {
	for _, s := range readShapes(t) {
		for name, way := range map[string]struct {
			bytes    string
			statuses []int
		}{
			"plain, first":      {s.bytes, s.plain},
			"plain, second":     {getting("/before") + s.bytes, append([]int{200}, s.plain...)},
			"websocket, first":  {s.asWebSocket(), s.websocket},
			"websocket, second": {getting("/before") + s.asWebSocket(), append([]int{200}, s.websocket...)},
		} {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				withDrivers(t, func(t *testing.T, driver string) { smuggle(t, driver, way.bytes, way.statuses) })
			})
		}
	}
}

func smuggle(t *testing.T, driver, text string, statuses []int) {
	r := newRecorder(t)
	s := newSetup(driver, r.Addr().String())
	s.Listeners[0].HeadTimeout, s.Routes[0].WriteTimeout = milliseconds(300), milliseconds(300)
	g := s.run(t)
	c := g.dial(t)
	c.send(t, text)
	c.mayWait()
	var got []int
	for {
		if len(got) == len(statuses) && len(got) > 0 {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // the connection may stay open
		}
		response, err := http.ReadResponse(c.reader, nil)
		if err != nil {
			break
		}
		got = append(got, response.StatusCode)
		if response.StatusCode == 101 {
			break
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.Close {
			break
		}
	}
	if !slices.Equal(got, statuses) {
		t.Errorf("statuses %v, want %v", got, statuses)
	}
	_ = c.Close()
	g.wantIdle(t)
	g.Close()
	if diff := cmp.Diff(readings(t, text), r.end()); diff != "" {
		t.Errorf("the gateway read (-) and the backend got (+):\n%s", diff)
	}
}

// A reading is a request as one parser reads it.
type reading struct {
	Method, Target, Host, Body string
	IsWebSocket                bool
	TrailerCount               int // trailers never pass
}

// readings returns the requests that package upgrade reads and accepts.
func readings(t *testing.T, text string) (all []reading) {
	t.Helper()
	for len(text) > 0 {
		var r upgrade.Request
		n, err := r.Parse([]byte(text))
		if err != nil || n == 0 || r.Header("Expect") != nil {
			return all
		}
		target := "/" + strings.TrimPrefix(string(r.RawPath()), "/")
		if bytes.IndexByte(r.Target(), '?') >= 0 {
			target += "?" + string(r.Query())
		}
		one := reading{Method: string(r.Method()), Target: target, Host: string(r.Host()), IsWebSocket: r.IsWebSocket()}
		if r.IsWebSocket() {
			if r.CheckUpgrade() == nil {
				all = append(all, one)
			}
			return all // the rest are frames
		}
		text = text[n:]
		body := r.Body()
		n, err = body.Scan([]byte(text))
		if err != nil || !body.Done() {
			return all
		}
		one.Body = text[:n]
		if r.Header("Transfer-Encoding") != nil {
			content, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(one.Body)))
			if err != nil {
				t.Fatalf("net/http reads the chunks differently: %v", err)
			}
			one.Body = string(content)
		}
		all = append(all, one)
		text = text[n:]
	}
	return all
}

// A recorder is a backend that reads requests with net/http's parser and keeps those that are complete.
type recorder struct {
	net.Listener
	conns sync.WaitGroup

	mu  sync.Mutex
	all []reading // guarded by mu
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{Listener: listenRaw(t).Listener}
	r.conns.Go(func() {
		for {
			c, err := r.Accept()
			if err != nil {
				return
			}
			r.conns.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() { r.end() })
	return r
}

// end waits until every byte that was sent is read, and returns the requests.
func (r *recorder) end() []reading {
	_ = r.Close()
	r.conns.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

// serve answers the requests of a connection until it ends.
func (r *recorder) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		request, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return // the gateway has ended the connection
		}
		isWebSocket := strings.EqualFold(request.Header.Get("Upgrade"), "websocket")
		r.mu.Lock()
		r.all = append(r.all, reading{request.Method, request.RequestURI, request.Host, string(body), isWebSocket, len(request.Trailer)})
		r.mu.Unlock()
		if isWebSocket {
			_, _ = io.WriteString(c, switching())
			_, _ = io.Copy(io.Discard, br) // frames
			return
		}
		fmt.Fprint(c, answering("ok"))
	}
}
