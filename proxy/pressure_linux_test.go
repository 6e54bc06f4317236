package proxy

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/netconn"
)

func TestEstablishedSessionsContinueWhenDescriptorsRunOut(t *testing.T) {
	const descriptors = 400
	if testing.Short() {
		t.Skip("takes seconds")
	}
	p, address := startGateway(t, descriptors, startEcho(t), `head_timeout = "2s"`)
	idle := p.descriptors(t)

	// Even with as many sessions as possible the gateway has descriptors left to refuse more.
	var live []*wire
	for status := 101; ; {
		var c *wire
		if c, status = openAt(t, address); status != 101 {
			if status != 503 {
				t.Fatalf("status %d after %d sessions, want 503", status, len(live))
			}
			break
		}
		live = append(live, c)
	}
	if len(live) < descriptors/4 {
		t.Fatalf("%d sessions with %d descriptors", len(live), descriptors)
	}

	// Silent connections use up what their address may have; more are refused.
	for range descriptors / 3 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	eventually(t, "clients are refused", func() bool { return strings.Contains(p.output.String(), `"reason":"connections_share"`) })
	before, begin := p.cpu(t), time.Now()
	for range 3 {
		for _, c := range live {
			c.wantEcho(t)
		}
	}
	time.Sleep(time.Second - min(time.Since(begin), time.Second))
	if spent, took := p.cpu(t)-before, time.Since(begin); spent > took/2 {
		t.Errorf("%v of CPU in %v: a loop spins", spent, took)
	}

	// A client that comes meanwhile gets a 503. The log has one line for each reason, and accepting never fails. Faults C2.
	if _, status := openAt(t, address); status != 503 {
		t.Errorf("status %d, want 503", status)
	}
	text := p.output.String()
	if strings.Contains(text, "accept fails") {
		t.Errorf("the gateway has no descriptors left:\n%s", text)
	}
	if lines, reasons := strings.Count(text, "clients are refused"), 4; lines > reasons {
		t.Errorf("%d lines of the log say that clients are refused, want one for each of %d reasons at most", lines, reasons)
	}
	for _, c := range live[:10] {
		c.send(t, c.closing(1000))
		c.wantClose(t, 1000)
		_ = c.Close()
	}
	for opened := 0; opened < 10; {
		if _, status := openAt(t, address); status == 101 {
			opened++
		} else if status != 503 {
			t.Fatalf("status %d after the pressure, want 101", status)
		}
	}
	for _, c := range live[10:] {
		c.wantEcho(t)
		_ = c.Close()
	}
	eventually(t, "the release of all descriptors", func() bool { return p.descriptors(t) <= idle+2*10+2 })
}

// If max_sessions allows more sessions than there are descriptors, the dial fails for want of one. Then the gateway is full, and the failure
// is not the backend's.
func TestAHandshakeWithoutADescriptorForItsBackendIsA503(t *testing.T) {
	backend := startEcho(t)
	statuses := map[int]int{}
	for silent := range 2 { // the last descriptor is that of a client or of a backend
		p, address := startGateway(t, 64, backend, "head_timeout = \"1s\"\n[gateway]\nmax_sessions = 1000")
		for range silent {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		acceptFails := func() bool { return strings.Contains(p.output.String(), "accept fails") }
		for status := 101; status == 101 && !acceptFails(); {
			c := askAt(t, address)
			// When accepting fails, connections that wait to be accepted get no answer any more.
			eventually(t, "an answer, or that accepting fails", func() bool { return c.isAnswered() || acceptFails() })
			if c.isAnswered() {
				status = c.answer(t).StatusCode
				statuses[status]++
			}
		}
	}
	if statuses[503] == 0 || len(statuses) > 2 {
		t.Errorf("statuses %v, want sessions and a 503", statuses)
	}
}

func TestSlowClientsAreDroppedAndDoNotDelayLiveSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const headTimeout, count = 3 * time.Second, 2000
	_, address := startGateway(t, 0, startEcho(t), "max_handshakes = 5000\nhead_timeout = \"3s\"")
	live := make([]*wire, 100)
	for i := range live {
		var status int
		if live[i], status = openAt(t, address); status != 101 {
			t.Fatalf("status %d", status)
		}
	}
	calm := medianLatency(t, live, headTimeout)

	slow := make([]net.Conn, 2*count)
	for i := range slow {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		slow[i] = c
	}
	begin := time.Now()
	dripped := make(chan struct{})
	go drip(slow[:count], headTimeout+time.Second, dripped)
	busy := medianLatency(t, live, headTimeout)
	t.Logf("median latency %v, with slow clients %v", calm, busy)
	if busy > 3*calm+time.Millisecond {
		t.Errorf("median latency %v, with slow clients %v", calm, busy)
	}
	<-dripped
	for _, c := range slow {
		_ = c.SetReadDeadline(begin.Add(headTimeout + patience))
		if _, err := io.Copy(io.Discard, c); netconn.IsTimeout(err) {
			t.Fatalf("a slow client is connected %v after head_timeout", patience)
		}
	}
	for _, c := range live {
		c.wantEcho(t)
	}
}

// drip sends a head on every connection, one byte a second, and closes done at its end.
func drip(conns []net.Conn, during time.Duration, done chan<- struct{}) {
	defer close(done)
	text := asking("/")
	for i := range int(during / time.Second) {
		next := time.Now().Add(time.Second)
		for _, c := range conns {
			_, _ = c.Write([]byte{text[i]}) // the connection may have ended
		}
		time.Sleep(time.Until(next))
	}
}

// medianLatency returns how long an echo takes.
func medianLatency(t *testing.T, live []*wire, during time.Duration) time.Duration {
	t.Helper()
	var all []time.Duration
	for end := time.Now().Add(during); time.Now().Before(end); {
		for _, c := range live {
			begin := time.Now()
			c.wantEcho(t)
			all = append(all, time.Since(begin))
		}
	}
	slices.Sort(all)
	return all[len(all)/2]
}

const large = 1 << 30 // bytes

// TestLargeBodiesPassWithFlatMemory passes 1 GiB in each direction through a process, and measures the memory of the process.
func TestLargeBodiesPassWithFlatMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err != nil || r.Method == http.MethodPut && n != large {
			t.Errorf("%d bytes arrive, %v", n, err)
		}
		if r.Method == http.MethodGet {
			_, _ = io.CopyN(w, zeros{}, large)
		}
	}))
	defer backend.Close()
	p, address := startGateway(t, 0, backend.Listener.Addr().String(), "")
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	exchange := func(method string, body io.Reader, want int64) {
		request, err := http.NewRequest(method, "http://"+address+"/", body)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if n, err := io.Copy(io.Discard, response.Body); n != want || err != nil || response.StatusCode != 200 {
			t.Fatalf("%s: status %d, %d bytes, %v", method, response.StatusCode, n, err)
		}
	}
	exchange(http.MethodHead, nil, 0)
	before, most := p.resident(t), 0
	watched, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				most = max(most, p.resident(t))
			}
		}
	}()
	begin := time.Now()
	exchange(http.MethodPut, io.LimitReader(zeros{}, large), 0)
	up := time.Since(begin)
	exchange(http.MethodGet, nil, large)
	down := time.Since(begin) - up
	close(stop)
	<-watched
	t.Logf("1 GiB up in %v, down in %v; %d KiB resident before, %d KiB at most", up, down, before>>10, most>>10)
	if most > before+(32<<20) {
		t.Errorf("%d KiB resident before, %d KiB at most", before>>10, most>>10)
	}
}

// zeros is an endless stream of zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
