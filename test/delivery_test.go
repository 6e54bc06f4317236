//go:build unix

package test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A deliverer is one end of a session, over TCP or TLS.
type deliverer struct {
	net.Conn
	reader   *bufio.Reader
	isClient bool // a client, and so it masks its frames
}

func (d *deliverer) frame(opcode ws.OpCode, payload []byte) []byte {
	f := ws.NewFrame(opcode, true, bytes.Clone(payload))
	if d.isClient {
		f = ws.MaskFrameWith(f, [4]byte{0x37, 0xfa, 0x21, 0x3d})
	}
	return ws.MustCompileFrame(f)
}

func (d *deliverer) closeFrame(code ws.StatusCode) []byte {
	return d.frame(ws.OpClose, ws.NewCloseFrameBody(code, ""))
}

// readToClose reads messages, each of which begins with its number, and then a close.
func (d *deliverer) readToClose() (messages int, code ws.StatusCode, err error) {
	for {
		f, err := readFrame(d.reader)
		if err != nil {
			return messages, 0, err
		}
		if f.Header.Masked {
			ws.Cipher(f.Payload, f.Header.Mask, 0)
		}
		switch f.Header.OpCode {
		case ws.OpClose:
			code, _ = ws.ParseCloseFrameData(f.Payload)
			return messages, code, nil
		case ws.OpBinary:
			if want := fmt.Sprintf("%08d", messages); string(f.Payload[:8]) != want {
				return messages, 0, fmt.Errorf("message %q, want %s", f.Payload[:8], want)
			}
			messages++
		}
	}
}

// A delivering is a gateway with a backend, in clear or over TLS on both sides.
type delivering struct {
	*gateway
	backend net.Listener
	secured *tls.Config // of clients; nil: in clear
}

func newDelivering(t *testing.T, on func(string) string, isSecure bool) *delivering {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	d := &delivering{backend: ln}
	address, listener, pool := ln.Addr().String(), "", ""
	if isSecure {
		ca := newAuthority(t, t.TempDir(), "authority")
		site := ca.issue(t, "site")
		d.backend = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{*site.certificate()}})
		d.secured = &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
		address, listener, pool = "wss://"+address, section("", site), fmt.Sprintf("[pool.tls]\nca = %q\n", ca.cert)
	}
	route := strings.Replace(poolAt(address), "pool = \"pool\"\n", "pool = \"pool\"\nclose_timeout = \"1s\"\n", 1)
	d.gateway = runGateway(t, on(basics+listener+route+pool))
	return d
}

// open opens a session whose ends have little room in their kernels for what they are sent.
func (d *delivering) open(t *testing.T, path string) (ends [2]*deliverer) {
	t.Helper()
	end := func(c net.Conn, isClient bool) *deliverer {
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return &deliverer{c, bufio.NewReader(c), isClient}
	}
	shrunk := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 64<<10) })
	}}
	c, err := shrunk.Dial("tcp", d.listeners["public"])
	if err != nil {
		t.Fatal(err)
	}
	if d.secured != nil {
		c = tls.Client(c, d.secured)
	}
	client := end(c, true)
	if _, err := io.WriteString(client, request(path)); err != nil {
		t.Fatal(err)
	}
	b, err := d.backend.Accept()
	if err != nil {
		t.Fatal(err)
	}
	backend := end(b, false)
	if _, err := http.ReadRequest(backend.reader); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(backend, switching()); err != nil {
		t.Fatal(err)
	}
	if answer, err := http.ReadResponse(client.reader, nil); err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v; want 101", answer, err)
	}
	return [2]*deliverer{client, backend}
}

// A delivery is a session in which one end, the sender, sends messages, and the other one stands still.
type delivery struct {
	way      string
	from, to *deliverer
	told     chan ws.StatusCode // by its close, to the sender
}

// deliver opens a session and sends messages.
func (d *delivering) deliver(t *testing.T, way string, sender int, messages []byte) *delivery {
	ends := d.open(t, "/"+way)
	v := &delivery{way, ends[sender], ends[1-sender], make(chan ws.StatusCode, 1)}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = v.from.Write(messages)
		if !v.isByGateway() {
			_, _ = v.from.Write(v.from.closeFrame(4001))
		}
	}()
	go func() {
		_, code, _ := v.from.readToClose()
		v.told <- code
		<-sent
		if v.isByGateway() {
			_, _ = v.from.Write(v.from.closeFrame(code))
		}
	}()
	if way == "both-close" {
		_, _ = v.to.Write(v.to.closeFrame(4002))
	}
	return v
}

func (v *delivery) isByGateway() bool { return v.way == "operator" || v.way == "stop" }

// check has the receiver go on.
func (v *delivery) check(t *testing.T, count int) {
	n, code, err := v.to.readToClose()
	want, answer := ws.StatusCode(4001), ws.StatusCode(4002)
	if v.isByGateway() {
		want, answer = 1012, 1012
		if !v.from.isClient {
			count = 16 // what a backend sends after the close has gone to its client isn't passed on
		}
	}
	if err != nil || code != want || n < count {
		t.Errorf("%d messages, close %d, %v; want %d messages, close %d", n, code, err, count, want)
	}
	if v.way != "both-close" {
		_, _ = v.to.Write(v.to.closeFrame(answer))
	}
	if told := <-v.told; told != answer {
		t.Errorf("the sender is told %d, want %d", told, answer)
	}
	if rest, err := io.ReadAll(v.to.reader); len(rest) > 0 || err != nil {
		t.Errorf("after the close come %d bytes, %v; want the end of the stream", len(rest), err)
	}
}

// Faults B16. One end stands still for longer than close_timeout while the other one sends and closes, both close, or the gateway does.
func TestWhatWasSentBeforeAnEndArrives(t *testing.T) {
	t.Parallel()
	const count = 400
	var messages [2][]byte // by sender
	for side, d := range []*deliverer{{isClient: true}, {}} {
		for i := range count {
			messages[side] = append(messages[side], d.frame(ws.OpBinary, append(fmt.Appendf(nil, "%08d", i), make([]byte, 3992)...))...)
		}
	}
	eachDriver(t, func(t *testing.T, on func(string) string) {
		for _, security := range []string{"in clear", "over TLS"} {
			d, stopped := newDelivering(t, on, security == "over TLS"), newDelivering(t, on, security == "over TLS")
			var all []*delivery
			for sender := range 2 {
				for _, way := range []string{"closes", "both-close", "operator"} {
					all = append(all, d.deliver(t, way, sender, messages[sender]))
				}
				all = append(all, stopped.deliver(t, "stop", sender, messages[sender]))
			}
			time.Sleep(time.Second)
			ask, err := http.NewRequest(http.MethodDelete, "http://"+d.admin+"/api/v1/sessions?path=/operator&code=1012", nil)
			if err != nil {
				t.Fatal(err)
			}
			if answer, err := http.DefaultClient.Do(ask); err != nil || answer.StatusCode != http.StatusOK || answer.Body.Close() != nil {
				t.Fatalf("DELETE: %v, %v", answer, err)
			}
			stopped.signal(t, syscall.SIGTERM)
			time.Sleep(1500 * time.Millisecond)
			for _, v := range all {
				t.Run(fmt.Sprintf("%s, %s, from a client %t", security, v.way, v.from.isClient), func(t *testing.T) { v.check(t, count) })
			}
			if code := stopped.exitCode(t, 2*patience); code != 0 {
				t.Errorf("exit code %d on SIGTERM, want 0", code)
			}
		}
	})
}
