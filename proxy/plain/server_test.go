package plain

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"sluice/internal/netconn"
	"sluice/proxy/reach"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// patience bounds each wait for something that is expected at once.
const patience = 10 * time.Second

// runServer runs a server for requests below /plain. Each is answered by its own body and path, in the place of a backend, and goes to
// served after that.
func runServer(t *testing.T) (s *Server, served chan *Request) {
	t.Helper()
	return runServerWith(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_, _ = io.Copy(w, r.Body)
		_, _ = io.WriteString(w, r.URL.Path)
	})
}

// runServerWith runs a server for requests below /plain, which handle answers.
func runServerWith(t *testing.T, stopped <-chan struct{}, handle http.HandlerFunc) (s *Server, served chan *Request) {
	t.Helper()
	served = make(chan *Request, 10)
	r := &route.Route{WriteTimeout: patience, MaxBody: 1 << 20, Plain: handle}
	s = NewServer(Config{
		Addr:        &net.TCPAddr{},
		HeadTimeout: patience,
		Route: func(_ *reach.Client, head *upgrade.Request) *route.Route {
			if strings.HasPrefix(string(head.Path()), "/plain") {
				return r
			}
			return nil
		},
		Identify: func(*reach.Client, *upgrade.Request, uint64) {},
		Admit:    func(*Request) *upgrade.Rejection { return nil },
		Release:  func(*Request) {},
		IsIdle:   func() {},
		Served:   func(r *Request) { served <- r },
		Stopped:  stopped,
		Log:      zap.NewNop(),
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run()
	}()
	t.Cleanup(func() {
		s.Close()
		<-ended
	})
	return s, served
}

// connect returns both ends of a connection.
func connect(t *testing.T) (client, gateway net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if gateway, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), gateway.Close() })
	_ = client.SetDeadline(time.Now().Add(patience))
	return client, gateway
}

func wantAnswer(t *testing.T, from *bufio.Reader, want string) {
	t.Helper()
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if body, err := io.ReadAll(response.Body); string(body) != want || err != nil {
		t.Errorf("the answer is %q, %v; want %q", body, err, want)
	}
}

func TestAHeadThatIsNotForTheServerComesBackWithTheConnection(t *testing.T) {
	s, served := runServer(t)
	client, gateway := connect(t)
	const first, second, other = "GET /plain/1 HTTP/1.1\r\nHost: a\r\n\r\n", "POST /plain/2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", "GET /other HTTP/1.1\r\nHost: a\r\n\r\nmore"
	c := s.Begin(gateway, reach.Client{}, []byte(first+second[:10]))
	if c == nil {
		t.Fatal("the server takes no connection")
	}
	if _, err := io.WriteString(client, second[10:]+other); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(client)
	wantAnswer(t, answers, "/plain/1")
	wantAnswer(t, answers, "body/plain/2")
	rest, start, err := c.Wait()
	if string(rest) != other || start.IsZero() || err != nil {
		t.Errorf("Wait() = %q, %v, %v; want %q", rest, start, err, other)
	}
	for _, want := range []string{"/plain/1", "/plain/2"} {
		if r := <-served; string(r.Path()) != want || r.Status != 200 {
			t.Errorf("a request for %s with status %d is over, want %s with 200", r.Path(), r.Status, want)
		}
	}
	if _, err := io.WriteString(gateway, "still open"); err != nil {
		t.Errorf("the connection isn't the caller's: %v", err)
	}
}

func TestAConnectionThatEndsIsClosed(t *testing.T) {
	s, served := runServer(t)
	client, gateway := connect(t)
	c := s.Begin(gateway, reach.Client{}, []byte("GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
	answers := bufio.NewReader(client)
	wantAnswer(t, answers, "/plain")
	_ = client.(*net.TCPConn).CloseWrite()
	if rest, start, err := c.Wait(); rest != nil || !start.IsZero() || err != nil {
		t.Errorf("Wait() = %q, %v, %v; want nothing", rest, start, err)
	}
	if _, err := answers.ReadByte(); err != io.EOF {
		t.Errorf("%v, want the end of the connection", err)
	}
	<-served
}

func TestAServerThatIsClosedTakesNoConnection(t *testing.T) {
	s, _ := runServer(t)
	s.Shutdown(context.Background())
	client, gateway := connect(t)
	if s.Begin(gateway, reach.Client{}, nil) != nil {
		t.Error("it takes one")
	}
	_, _ = io.WriteString(gateway, "x")
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Errorf("the connection isn't the caller's: %v", err)
	}
}

// A lateConn has the last octet of a body, and more than a buffer holds after it, at the moment at which a read is ended by a deadline in
// the past; that read finds it all the same.
type lateConn struct {
	net.Conn
	isLate chan struct{}
	once   sync.Once
}

func (c *lateConn) Read(p []byte) (int, error) {
	<-c.isLate
	return copy(p, strings.Repeat("o", len(p))), nil
}

func (c *lateConn) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		c.once.Do(func() { close(c.isLate) })
	}
	return nil
}

func TestAConnectionEndsWhoseAnswerIsBrokenOffAsItsBodyEnds(t *testing.T) {
	hasBegun := make(chan struct{})
	s, served := runServerWith(t, nil, func(w http.ResponseWriter, r *http.Request) {
		go func() { // as net/http's transport, which sends the body
			_, _ = io.ReadFull(r.Body, make([]byte, 4))
			close(hasBegun)
			_, _ = io.Copy(io.Discard, r.Body)
		}()
		<-hasBegun
		time.Sleep(10 * time.Millisecond) // the last octet is waited for
		panic(http.ErrAbortHandler)
	})
	_, gateway := connect(t)
	c := s.Begin(&lateConn{Conn: gateway, isLate: make(chan struct{})}, reach.Client{}, []byte("POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell"))
	wantEnd(t, c)
	<-served
}

// wantEnd waits until the server has finished with a connection, which has no head for its caller.
func wantEnd(t *testing.T, c *Conn) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if rest, start, err := c.Wait(); rest != nil || !start.IsZero() || err != nil {
			t.Errorf("Wait() = %q, %v, %v; want nothing", rest, start, err)
		}
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the connection doesn't end")
	}
}

func TestAStopEndsARequestBehindWhichTheBufferIsFull(t *testing.T) {
	stopped, hasBegun := make(chan struct{}), make(chan struct{})
	s, _ := runServerWith(t, stopped, func(_ http.ResponseWriter, r *http.Request) {
		close(hasBegun)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	client, gateway := connect(t)
	c := s.Begin(gateway, reach.Client{}, []byte("GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"))
	<-hasBegun
	if _, err := client.Write(make([]byte, 4*upgrade.MaxHeadBytes)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond) // the buffer fills
	close(stopped)
	_ = gateway.Close()
	wantEnd(t, c)
}

// A backend may answer before it has read all. The transport goes on sending it the body, of which nothing more comes.
func TestARequestIsAccountedForAtOnceAndItsBodyWaitedForBriefly(t *testing.T) {
	hasBegun := make(chan struct{})
	s, served := runServerWith(t, nil, func(w http.ResponseWriter, r *http.Request) {
		go func() {
			_, _ = io.ReadFull(r.Body, make([]byte, 4))
			close(hasBegun)
			_, _ = io.Copy(io.Discard, r.Body)
		}()
		<-hasBegun
		time.Sleep(10 * time.Millisecond) // the last octet is waited for
		w.Header().Set("Content-Length", "6")
		_, _ = io.WriteString(w, "enough")
	})
	client, gateway := connect(t)
	start := time.Now()
	c := s.Begin(gateway, reach.Client{}, []byte("POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell"))
	<-served
	if d := time.Since(start); d > netconn.LingerTime/2 {
		t.Errorf("the request is accounted for after %v", d)
	}
	wantAnswer(t, bufio.NewReader(client), "enough")
	if d := time.Since(start); d > netconn.LingerTime/2 {
		t.Errorf("the answer comes after %v", d)
	}
	wantEnd(t, c)
	if d := time.Since(start); d > patience/2 {
		t.Errorf("the connection ends after %v, want about %v: for the body, and for the client's end", d, 2*netconn.LingerTime)
	}
}

func TestAClientThatWaitsForA100GetsNoOtherInterimAnswer(t *testing.T) {
	for _, test := range []struct{ fields, want string }{
		{"Content-Length: 4\r\n", "HTTP/1.1 103 Early Hints\r\n"},
		{"Content-Length: 4\r\nExpect: 100-continue\r\n", "HTTP/1.1 100 Continue\r\n"},
	} {
		s, served := runServerWith(t, nil, func(w http.ResponseWriter, r *http.Request) {
			var sending sync.WaitGroup
			sending.Go(func() { _, _ = io.Copy(io.Discard, r.Body) }) // as net/http's transport, whose other goroutine reads the answer
			w.WriteHeader(http.StatusEarlyHints)
			sending.Wait()
			w.WriteHeader(http.StatusOK)
		})
		client, gateway := connect(t)
		c := s.Begin(gateway, reach.Client{}, []byte("POST /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"+test.fields+"\r\n"))
		answers := bufio.NewReader(client)
		if line, err := answers.ReadString('\n'); line != test.want || err != nil {
			t.Errorf("%q: the answer begins with %q, %v; want %q", test.fields, line, err, test.want)
		}
		_, _ = io.WriteString(client, "body")
		_ = client.(*net.TCPConn).CloseWrite()
		wantEnd(t, c)
		if rest, err := io.ReadAll(answers); err != nil || strings.Count(string(rest), "HTTP/1.1 ") != 1 {
			t.Errorf("%q: %q, %v follow; want the final answer", test.fields, rest, err)
		}
		<-served
	}
}
