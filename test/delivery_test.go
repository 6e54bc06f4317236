//go:build unix

package test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
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
	*changing
	backend net.Listener
	secured *tls.Config // of clients; nil: in clear
	config  string      // without routes and pools
	address string      // of the backend, as in a pool
	more    string      // keys of each pool
}

func newDelivering(t *testing.T, on func(string) string, isSecure bool) *delivering {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	d := &delivering{backend: ln, address: ln.Addr().String(), config: on(strings.Replace(basics, "drain", "on_removed = \"drain\"\ndrain", 1))}
	if isSecure {
		ca := newAuthority(t, t.TempDir(), "authority")
		site := ca.issue(t, "site")
		d.backend = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{*site.certificate()}})
		d.secured = &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
		d.address, d.config, d.more = "wss://"+d.address, d.config+section("", site), fmt.Sprintf("[pool.tls]\nca = %q\n", ca.cert)
	}
	d.changing = runChanging(t, d.routes(false))
	return d
}

// routes returns the configuration with a route and a pool for each way to end; isChanged: without one, and with a backend more.
func (d *delivering) routes(isChanged bool) string {
	text := d.config
	for _, way := range deliveryWays {
		keys, backends := "", fmt.Sprintf("{ address = %q }", d.address)
		switch {
		case way.name == "removed" && isChanged:
			continue
		case way.name == "idle":
			keys = "idle_timeout = \"1s\"\n"
		case way.name == "rebalanced" && isChanged:
			backends += ", { address = \"127.0.0.1:9\", weight = 65535 }"
		}
		text += fmt.Sprintf("[[route]]\npath = \"/%s\"\npool = %[1]q\nclose_timeout = \"1s\"\n%[2]s[[pool]]\nname = %[1]q\nbackend = [%[3]s]\n%[4]s",
			way.name, keys, backends, d.more)
		if way.name == "rebalanced" {
			text += "[pool.rebalance]\nrate = 100\ninterval = \"1s\"\n"
		}
	}
	return text
}

// open opens a session whose ends have little room in their kernels for what they are sent.
func (d *delivering) open(t *testing.T, path string) (ends [2]*deliverer) {
	t.Helper()
	end := func(c net.Conn, isClient bool) *deliverer {
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(3 * patience))
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

// A deliveryWay is a way in which a session ends while one end of it, the receiver, stands still.
type deliveryWay struct {
	name      string
	last      func(from *deliverer) []byte // what the sender sends after its messages
	shuts     bool                         // the sender then ends its stream
	byGateway bool                         // the gateway ends the session
	code      [2]ws.StatusCode             // of the close that comes last, by receiver; 0: none comes
}

// answered is the code of the receiver's close, where it has one of its own.
const answered ws.StatusCode = 4002

var deliveryWays = []deliveryWay{
	{name: "closed", last: closeOf4001, code: [2]ws.StatusCode{4001, 4001}},
	{name: "closed-and-ended", last: closeOf4001, shuts: true, code: [2]ws.StatusCode{4001, 4001}},
	{name: "both-closed", last: closeOf4001, code: [2]ws.StatusCode{4001, 4001}},
	{name: "ended", shuts: true, code: [2]ws.StatusCode{serviceRestart, ws.StatusGoingAway}},
	{name: "ended-in-a-frame", last: halfAFrame, shuts: true},
	{name: "faulty", last: func(*deliverer) []byte { return []byte{0xff} }, code: [2]ws.StatusCode{serviceRestart, ws.StatusGoingAway}},
	{name: "idle", byGateway: true, code: [2]ws.StatusCode{ws.StatusGoingAway, ws.StatusGoingAway}},
	{name: "operator", byGateway: true, code: restarts},
	{name: "drained", byGateway: true, code: restarts},
	{name: "removed", byGateway: true, code: restarts},
	{name: "rebalanced", byGateway: true, code: restarts},
	{name: "stopped", byGateway: true, code: restarts}, // a gateway of its own
}

var restarts = [2]ws.StatusCode{serviceRestart, serviceRestart}

func closeOf4001(from *deliverer) []byte { return from.closeFrame(4001) }

func halfAFrame(from *deliverer) []byte {
	f := from.frame(ws.OpText, make([]byte, 100))
	return f[:50]
}

// ask asks the admin API.
func (d *delivering) ask(t *testing.T, method, path string) {
	t.Helper()
	request, err := http.NewRequest(method, "http://"+d.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(answer.Body)
		t.Fatalf("%s %s: %d %s", method, path, answer.StatusCode, body)
	}
}

// endSessions has the gateway end its sessions in each way, but by a stop.
func (d *delivering) endSessions(t *testing.T) {
	t.Helper()
	d.ask(t, http.MethodDelete, "/api/v1/sessions?path=/operator&code=1012")
	d.ask(t, http.MethodPost, "/api/v1/pools/drained/backends/"+url.PathEscape(d.address)+"/drain")
	d.open(t, "/rebalanced") // the one that stays: the others have been idle for longer
	d.change(t, d.routes(true))
}

// wantExit waits for the end of a stop.
func (d *delivering) wantExit(t *testing.T) {
	t.Helper()
	if code := d.exitCode(t, 2*patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A delivery is a session in which one end, the sender, sends messages, and the other one stands still.
type delivery struct {
	*deliveryWay
	from, to *deliverer
	told     chan ws.StatusCode // by its close, to the sender
}

// deliver opens a session and sends messages.
func (d *delivering) deliver(t *testing.T, way *deliveryWay, sender int, messages []byte) *delivery {
	ends := d.open(t, "/"+way.name)
	v := &delivery{way, ends[sender], ends[1-sender], make(chan ws.StatusCode, 1)}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = v.from.Write(messages)
		if v.last != nil {
			_, _ = v.from.Write(v.last(v.from))
		}
		if v.shuts {
			_ = v.from.Conn.(interface{ CloseWrite() error }).CloseWrite()
		}
	}()
	go func() {
		_, code, _ := v.from.readToClose()
		v.told <- code
		<-sent
		if v.byGateway {
			_, _ = v.from.Write(v.from.closeFrame(code))
		}
	}()
	if way.name == "both-closed" {
		_, _ = v.to.Write(v.to.closeFrame(answered))
	}
	return v
}

// check has the receiver go on. It returns what is wrong.
func (v *delivery) check(count int) error {
	side := 0
	if v.from.isClient {
		side = 1
	}
	if v.name == "rebalanced" {
		time.Sleep(2 * time.Second) // until the gateway has looked at the shares
	}
	n, code, err := v.to.readToClose()
	want, answer := v.code[side], answered
	if v.byGateway {
		answer = want
		if !v.from.isClient {
			count = 16 // what a backend sends after the close has gone to its client isn't passed on
		}
	}
	if want == 0 {
		if n != count || err != io.ErrUnexpectedEOF {
			return fmt.Errorf("%d messages, %v; want %d and the end of the stream inside a frame", n, err, count)
		}
		<-v.told
		return nil
	}
	if err != nil || code != want || n < count {
		return fmt.Errorf("%d messages, close %d, %v; want %d messages, close %d", n, code, err, count, want)
	}
	if v.name != "both-closed" {
		_, _ = v.to.Write(v.to.closeFrame(answer))
	}
	if v.name == "faulty" {
		answer = ws.StatusProtocolError
	}
	if told := <-v.told; told != answer {
		return fmt.Errorf("the sender is told %d, want %d", told, answer)
	}
	if rest, err := io.ReadAll(v.to.reader); len(rest) > 0 || err != nil {
		return fmt.Errorf("after the close come %d bytes, %v; want the end of the stream", len(rest), err)
	}
	return nil
}

var deliveryStall = flag.Duration("delivery.stall", 1500*time.Millisecond, "how long the receivers of TestScenarioWhatWasSentBeforeAnEndArrives stand still, once")

// Faults B16. One end stands still, for less and for longer than close_timeout, while a session ends in each way there is. With
// SLUICE_TEST_LONG=true for up to 12 s.
func TestScenarioWhatWasSentBeforeAnEndArrives(t *testing.T) {
	t.Parallel()
	const count = 400
	var messages [2][]byte // by sender
	for side, d := range []*deliverer{{isClient: true}, {}} {
		for i := range count {
			messages[side] = append(messages[side], d.frame(ws.OpBinary, append(fmt.Appendf(nil, "%08d", i), make([]byte, 3992)...))...)
		}
	}
	stalls := []time.Duration{100 * time.Millisecond, *deliveryStall}
	if isLong() {
		stalls = []time.Duration{100 * time.Millisecond, time.Second, 3 * time.Second, 7 * time.Second, 12 * time.Second}
	}
	eachDriver(t, func(t *testing.T, on func(string) string) {
		for _, security := range []string{"in clear", "over TLS"} {
			for _, stall := range stalls {
				t.Run(fmt.Sprintf("%s, %v", security, stall), func(t *testing.T) {
					d, stopped := newDelivering(t, on, security == "over TLS"), newDelivering(t, on, security == "over TLS")
					var all []*delivery
					for i := range deliveryWays {
						way, of := &deliveryWays[i], d
						if way.name == "stopped" {
							of = stopped
						}
						for sender := range 2 {
							all = append(all, of.deliver(t, way, sender, messages[sender]))
						}
					}
					time.Sleep(time.Second) // what is to pass before the gateway is asked has come to it
					d.endSessions(t)
					stopped.signal(t, syscall.SIGTERM)
					time.Sleep(stall)
					failed := make([]error, len(all))
					var checks sync.WaitGroup
					for i, v := range all {
						checks.Go(func() { failed[i] = v.check(count) })
					}
					checks.Wait()
					for i, v := range all {
						if failed[i] != nil {
							t.Errorf("%s, from a client %t: %v", v.name, v.from.isClient, failed[i])
						}
					}
					stopped.wantExit(t)
				})
			}
		}
	})
}

// Faults B16. A client is about to send the rest of what it has to say when a stop comes, and its backend stands still.
func TestAStopWaitsForAClientThatWasNotReadForItsBackendsSake(t *testing.T) {
	t.Parallel()
	eachDriver(t, func(t *testing.T, on func(string) string) {
		d := newDelivering(t, on, false)
		ends := d.open(t, "/stopped")
		client, backend := ends[0], ends[1]
		const atOnce, later = 350, 40
		goesOn := make(chan struct{})
		go func() {
			for i := range atOnce + later {
				if i >= atOnce {
					<-goesOn
					time.Sleep(5 * time.Millisecond)
				}
				_, _ = client.Write(client.frame(ws.OpBinary, append(fmt.Appendf(nil, "%08d", i), make([]byte, 3992)...)))
			}
			_, _ = client.Write(client.closeFrame(serviceRestart))
		}()
		eventually(t, patience, "bytes wait for the backend", func() bool { return d.count(t, "sluice_queued_bytes") > 0 })
		d.signal(t, syscall.SIGTERM)
		time.Sleep(2 * time.Second) // longer than drain and close_timeout
		close(goesOn)
		if n, code, err := backend.readToClose(); n != atOnce+later || code != serviceRestart || err != nil {
			t.Errorf("%d messages, close %d, %v; want %d messages, close %d", n, code, err, atOnce+later, serviceRestart)
		}
		_, _ = backend.Write(backend.closeFrame(serviceRestart))
		d.wantExit(t)
	})
}
