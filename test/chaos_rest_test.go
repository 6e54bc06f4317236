//go:build unix

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
	"strings"
	"testing"
	"time"
)

// chaosGrace bounds the wait until the gateway has ended what the traffic began. The machine may be busy.
const chaosGrace = time.Minute

// calm applies a plain configuration, cuts the backends' connections, and waits until the gateway has no session, no queue and no
// handshake. The traffic must have stopped.
func (c *chaos) calm(t *testing.T, o *chaosOperator) {
	t.Helper()
	o.reload(c.site.calm(0, 0), false)
	for _, b := range c.backends {
		b.cut()
	}
	for _, metric := range []string{"sluice_sessions_active", "sluice_queued_bytes", "sluice_backend_sessions"} {
		c.eventually(t, metric+" is 0", func() (bool, string) {
			n := c.gateway.count(t, metric)
			return n == 0, fmt.Sprint(n)
		})
	}
	c.eventually(t, "no pool but that of the calm configuration, with no session", func() (bool, string) {
		_, body := o.ask("GET", "/api/v1/pools", "")
		var answer struct{ Pools []struct{ Sessions int } }
		return json.Unmarshal([]byte(body), &answer) == nil && len(answer.Pools) == 1 && answer.Pools[0].Sessions == 0, body
	})
	c.eventually(t, "no handshake and no session at a listener", func() (bool, string) {
		o.learnListeners()
		views := *c.listeners.Load()
		isIdle := len(views) == len(listenersAlways)
		for _, v := range views {
			isIdle = isIdle && v.Sessions == 0 && v.Handshakes == 0
		}
		return isIdle, fmt.Sprintf("%+v", views)
	})
}

// eventually polls until holds reports true, and fails the test with what it found instead after chaosGrace, or when the gateway ends.
func (c *chaos) eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(chaosGrace)
	for {
		c.wantAlive(t)
		isSo, got := holds()
		if isSo {
			return
		}
		if time.Now().After(deadline) {
			_, stacks := (&chaosOperator{chaos: c}).ask("GET", "/debug/pprof/goroutine?debug=1", "")
			t.Fatalf("%v went by without: %s, but %.2000s\ngoroutines:\n%.20000s", chaosGrace, what, got, stacks)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// wantAlive fails the test if the process has ended.
func (c *chaos) wantAlive(t *testing.T) {
	t.Helper()
	select {
	case <-c.gateway.exited:
		t.Fatalf("the gateway has ended (%v) after %s:\n%s", c.gateway.cmd.ProcessState, c.summary(), &c.crash)
	default:
	}
}

// chaosTaken is what the process uses of the system.
type chaosTaken struct{ sockets, pipes, others, goroutines int }

// mostPipes is how many descriptors of unused pipes two event loops may keep: 16 pipes each.
const mostPipes = 2 * 2 * 16

func (c *chaos) taken(t *testing.T) (n chaosTaken) {
	t.Helper()
	http.DefaultClient.CloseIdleConnections() // count's
	n.goroutines = c.gateway.count(t, "go_goroutines")
	http.DefaultClient.CloseIdleConnections()
	directory := fmt.Sprintf("/proc/%d/fd/", c.gateway.cmd.Process.Pid)
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		switch target, err := os.Readlink(directory + entry.Name()); {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(target, "socket:"):
			n.sockets++
		case strings.HasPrefix(target, "pipe:"):
			n.pipes++
		default:
			n.others++
		}
	}
	return n
}

// wantTaken waits until the process uses no more than before.
func (c *chaos) wantTaken(t *testing.T, before chaosTaken) {
	t.Helper()
	c.eventually(t, fmt.Sprintf("descriptors and goroutines as before: %+v", before), func() (bool, string) {
		n := c.taken(t)
		isBack := n.sockets <= before.sockets && n.pipes <= before.pipes+mostPipes && n.others <= before.others && n.goroutines <= before.goroutines
		return isBack, fmt.Sprintf("%+v", n)
	})
}

// wantPlaces opens sessions up to the limits of each listener, of one address and of the gateway: the limits are met exactly, so every
// place was given back, once.
func (c *chaos) wantPlaces(t *testing.T, o *chaosOperator) {
	t.Helper()
	const limit = 5
	o.reload(c.site.calm(0, limit), false)
	var all []net.Conn
	clear := func() {
		for _, conn := range all {
			_ = conn.Close()
		}
		all = nil
		for _, metric := range []string{"sluice_sessions_active", "sluice_backend_sessions"} {
			c.eventually(t, metric+" is 0", func() (bool, string) { n := c.gateway.count(t, metric); return n == 0, fmt.Sprint(n) })
		}
		c.eventually(t, "no place taken at a listener", func() (bool, string) {
			o.learnListeners()
			for _, v := range *c.listeners.Load() {
				if v.Sessions+v.Handshakes+v.Requests+v.Connections > 0 {
					return false, fmt.Sprintf("%+v", v)
				}
			}
			return true, ""
		})
	}
	enter := func(view listenerView, from byte, want int) {
		t.Helper()
		conn, status, err := c.enter(view, from)
		if status != want || err != nil {
			t.Fatalf("session %d, at listener %s: status %d, %v; want %d", len(all), view.Name, status, err, want)
		}
		if status == http.StatusSwitchingProtocols {
			all = append(all, conn)
			return
		}
		_ = conn.Close()
	}
	o.learnListeners()
	for _, view := range *c.listeners.Load() {
		if view.Name == "limited" {
			continue
		}
		for range limit {
			enter(view, 1, http.StatusSwitchingProtocols)
		}
		enter(view, 1, http.StatusServiceUnavailable)
	}
	clear()
	for _, view := range *c.listeners.Load() {
		if view.Name != "limited" {
			continue
		}
		for from := byte(1); from <= chaosLimit/clientLimit; from++ {
			for range clientLimit {
				enter(view, from, http.StatusSwitchingProtocols)
			}
			if len(all) < chaosLimit {
				enter(view, from, http.StatusTooManyRequests)
			}
		}
		enter(view, 200, http.StatusServiceUnavailable)
	}
	clear()
	o.reload(c.site.calm(2*limit, 0), false)
	for i := range 2 * limit {
		views := *c.listeners.Load()
		view := views[i%len(views)]
		enter(view, byte(1+i), http.StatusSwitchingProtocols)
	}
	enter((*c.listeners.Load())[0], 1, http.StatusServiceUnavailable)
	clear()
	o.reload(c.site.calm(0, 0), false)
}

// enter asks for a session as the listener expects it, and returns the connection and the status of the answer.
func (c *chaos) enter(view listenerView, from byte) (net.Conn, int, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
	network := "tcp"
	if strings.HasPrefix(view.Address, "/") {
		network, d.LocalAddr = "unix", nil
	}
	conn, err := d.Dial(network, view.Address)
	if err != nil {
		return nil, 0, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if view.ProxyProtocol {
		if _, err := io.WriteString(conn, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"); err != nil {
			return conn, 0, err
		}
	}
	if view.TLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(conn, request("/")); err != nil {
		return conn, 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return conn, 0, err
	}
	return conn, response.StatusCode, nil
}
