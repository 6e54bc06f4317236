package test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A test of floods: one address opens many connections of each kind that the gateway knows, and keeps them. Clients of other addresses must not notice. The
// addresses are those of 127.0.0.0/8.

// floodClients is how many other clients open a session each, one after another, during a flood.
const floodClients = 200

// A floodKind opens the connections of one kind, and returns when all are open or refused.
type floodKind struct {
	name string
	tls  bool
	each func(c net.Conn) // what it does on a connection, once
	drip string           // what it goes on to send, byte by byte
}

var floodKinds = []floodKind{
	{name: "silent"},
	{name: "half a head", each: func(c net.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: gateway.test\r\nX-Half: ") }},
	{name: "idle keep-alive", each: func(c net.Conn) {
		_, _ = io.WriteString(c, head("GET /plain HTTP/1.1", "Host: gateway.test"))
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if answer, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
		}
	}},
	{name: "event streams", each: func(c net.Conn) {
		_, _ = io.WriteString(c, head("GET /events HTTP/1.1", "Host: gateway.test"))
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, _ = http.ReadResponse(bufio.NewReader(c), nil)
	}},
	{name: "dripping body", drip: strings.Repeat("b", 1000), each: func(c net.Conn) {
		_, _ = io.WriteString(c, head("POST /plain HTTP/1.1", "Host: gateway.test", "Content-Length: 1000"))
	}},
	{name: "TLS without a hello", tls: true},
	{name: "hello and reset", tls: true, each: func(c net.Conn) {
		_, _ = c.Write(helloBytes())
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}},
}

// helloBytes is the first flight of a TLS client.
var helloBytes = sync.OnceValue(func() []byte {
	near, far := net.Pipe()
	go func() { _ = tls.Client(near, &tls.Config{ServerName: "gateway.test"}).Handshake() }()
	hello := make([]byte, 16<<10)
	n, _ := far.Read(hello)
	_, _ = near.Close(), far.Close()
	return hello[:n]
})

// Faults B1, C5.
func TestAFloodOfOneAddressIsNotNoticedByOthers(t *testing.T) {
	backend := floodBackend(t)
	g := runGateway(t, fmt.Sprintf(`
[gateway]
drain = "0s"
[admin]
address = "127.0.0.1:0"
[log]
access = false
[[listener]]
name = "public"
address = "127.0.0.1:0"
[[listener]]
name = "secure"
address = "127.0.0.1:0"
[listener.tls]
self_signed = true
[[route]]
pool = "pool"
[[pool]]
name = "pool"
backend = [{ address = %q }]
`, backend))
	size := sized(6000, 600)
	for _, kind := range floodKinds {
		t.Run(kind.name, func(t *testing.T) {
			address, connect := g.listeners["public"], connectPlain
			if kind.tls {
				address, connect = g.listeners["secure"], connectTLS
			}
			alone := handshakesOf(t, address, connect)
			before := g.resident(t)
			flood := startFlood(kind, size, address)
			defer flood.stop()
			among := handshakesOf(t, address, connect)
			t.Logf("%d connections open or refused in %v; p99 of others' handshakes: alone %v, during the flood %v; %d KiB more memory; %s",
				size, flood.took, alone, among, (g.resident(t)-before)>>10, g.limits(t))
			if among > alone+100*time.Millisecond && isLong() {
				t.Errorf("p99 of others' handshakes: alone %v, during the flood %v", alone, among)
			}
		})
	}
}

// A flood is the connections of one address.
type flood struct {
	took    time.Duration
	conns   []net.Conn
	ended   chan struct{}
	running sync.WaitGroup
}

func startFlood(kind floodKind, size int, address string) *flood {
	f := &flood{conns: make([]net.Conn, size), ended: make(chan struct{})}
	start := time.Now()
	const senders = 64
	var opening sync.WaitGroup
	for s := range senders {
		opening.Go(func() {
			for i := s; i < len(f.conns); i += senders {
				c, err := dialFrom(address, "127.0.0.1")
				if err != nil {
					continue
				}
				f.conns[i] = c
				if kind.each != nil {
					kind.each(c)
				}
			}
		})
	}
	opening.Wait()
	f.took = time.Since(start)
	f.running.Go(func() { f.drip(kind.drip) })
	return f
}

// drip sends a byte a second on each connection.
func (f *flood) drip(text string) {
	for i := range len(text) {
		for _, c := range f.conns {
			if c != nil {
				_, _ = c.Write([]byte{text[i]})
			}
		}
		select {
		case <-f.ended:
			return
		case <-time.After(time.Second):
		}
	}
}

func (f *flood) stop() {
	close(f.ended)
	f.running.Wait()
	for _, c := range f.conns {
		if c != nil {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}
}

// dialFrom connects from an address of this machine.
func dialFrom(address, from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	return d.Dial("tcp", address)
}

func connectPlain(address, from string) (net.Conn, error) { return dialFrom(address, from) }

func connectTLS(address, from string) (net.Conn, error) {
	c, err := dialFrom(address, from)
	if err != nil {
		return nil, err
	}
	return tls.Client(c, &tls.Config{InsecureSkipVerify: true}), nil
}

// handshakesOf opens a session for each of many clients of other addresses, and returns the 99th percentile of how long the handshakes took.
func handshakesOf(t *testing.T, address string, connect func(address, from string) (net.Conn, error)) time.Duration {
	t.Helper()
	var took []time.Duration
	for i := range floodClients {
		start := time.Now()
		c, err := connect(address, fmt.Sprintf("127.0.1.%d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(c, request("/"))
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || answer.StatusCode != 101 {
			t.Fatalf("client %d: %v, %v; want a session", i, answer, err)
		}
		took = append(took, time.Since(start))
		_ = c.Close()
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// resident returns the memory of the gateway's process in bytes.
func (g *gateway) resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * os.Getpagesize()
}

// limits returns the use of the limits.
func (g *gateway) limits(t *testing.T) string {
	t.Helper()
	response, err := http.Get("http://" + g.admin + "/api/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var status struct {
		Limits    map[string]int
		Listeners []map[string]any
	}
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(status.Limits)
	for _, l := range status.Listeners {
		text += fmt.Sprintf("; %v: connections %v, idle %v, handshakes %v, requests %v, refused %v",
			l["name"], l["connections"], l["idle"], l["handshakes"], l["requests"], l["refused"])
	}
	return text
}
