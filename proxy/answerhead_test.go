package proxy

import (
	"strings"
	"testing"
)

// Where two readers could see the end of an answer in different places, it doesn't pass.
// Faults C24.
func TestAPlainAnswerOfTwoLengthsIsA502(t *testing.T) {
	for name, answer := range map[string]string{
		"Content-Length and chunked":      head("HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"chunked and Content-Length":      head("HTTP/1.1 200 OK", "TRANSFER-encoding:chunked", "content-LENGTH:1") + "1\r\na\r\n0\r\n\r\n",
		"two Content-Lengths":             head("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2") + "ab",
		"a list of Content-Lengths":       head("HTTP/1.1 200 OK", "Content-Length: 1, 2") + "ab",
		"chunked in HTTP/1.0":             head("HTTP/1.0 200 OK", "Transfer-Encoding: chunked") + "1\r\na\r\n0\r\n\r\n",
		"after an interim answer":         head("HTTP/1.1 103 Early Hints", "Link: </a>") + head("HTTP/1.1 200 OK", "Content-Length: 0", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"white space behind a name":       head("HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding : chunked") + "1\r\na\r\n0\r\n\r\n",
		"white space behind both":         head("HTTP/1.1 200 OK", "content-length\t: 1", "transfer-encoding \t: chunked") + "1\r\na\r\n0\r\n\r\n",
		"a length that is not seen":       head("HTTP/1.1 200 OK", "Content-Length : 1") + "ab",
		"in a 304":                        head("HTTP/1.1 304 Not Modified", "Content-Length: 1", "Transfer-Encoding: chunked"),
		"lines that end with LF alone":    "HTTP/1.1 200 OK\nContent-Length: 1\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
		"behind a name of the same start": head("HTTP/1.1 200 OK", "Content-Length-Of: 3", "Transfer-Encoding-Of: x", "Content-Length: 1", "Transfer-Encoding: chunked") + "0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				g := newSetup(driver, backend.Addr().String()).run(t)
				c := g.dial(t)
				c.send(t, getting("/"))
				b := backend.accept(t)
				for _, part := range []string{answer[:9], answer[9:40], answer[40:]} { // in several reads, if the machine wants
					b.send(t, part)
				}
				for response := c.answer(t); response.StatusCode != 502; response = c.answer(t) {
					if response.StatusCode != 103 {
						t.Fatalf("status %d, want 502", response.StatusCode)
					}
				}
				b.wantGone(t)
				g.wantIdle(t)
				if n := g.metric(t, "sluice_backend_failures_total"); n != 1 {
					t.Errorf("%v failures are counted, want 1", n)
				}
			})
		})
	}
}

// The second answer of a connection is looked at as the first, and what only looks like a head inside a body isn't.
// Faults C24.
func TestALaterAnswerOfTwoLengthsIsA502(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		c := g.dial(t)
		c.send(t, getting("/"))
		b := backend.accept(t)
		trap := head("HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked")
		b.send(t, answering("\r\n\r\n"+trap))
		c.wantBody(t, 200, "\r\n\r\n"+trap)
		c.send(t, getting("/"))
		b.readHead(t)
		b.send(t, trap+"0\r\n\r\n")
		c.wantRefusal(t, 502, "both Content-Length and Transfer-Encoding")
		b.wantGone(t)
		g.wantIdle(t)
	})
}

// What a backend says in the head of its answer arrives, where net/http's server has words of its own too.
// Faults D: a backend's reason phrase, a 304's Content-Length and a 426's Upgrade.
func TestAPlainAnswerKeepsItsFirstLines(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		want   []string // lines of the head
	}{
		"a reason phrase": {head("HTTP/1.1 404 Gone fishing", "Content-Length: 0"), []string{"HTTP/1.1 404 Gone fishing", "Content-Length: 0"}},
		"no phrase":       {head("HTTP/1.1 200", "Content-Length: 0"), []string{"HTTP/1.1 200 "}},
		"an odd status":   {head("HTTP/1.1 299 Own", "Content-Length: 0"), []string{"HTTP/1.1 299 Own"}},
		"after hints":     {head("HTTP/1.1 103 Early Hints", "Link: x") + head("HTTP/1.1 200 Fine", "Content-Length: 0"), []string{"HTTP/1.1 103 Early Hints", "HTTP/1.1 200 Fine"}},
		"a 304": {head("HTTP/1.1 304 As Before", "Content-Length: 1234", "Content-Type: text/css", `ETag: "a"`),
			[]string{"HTTP/1.1 304 As Before", "Content-Length: 1234", "Content-Type: text/css", `Etag: "a"`}},
		"a 426": {head("HTTP/1.1 426 Upgrade First", "Upgrade: websocket", "Connection: Upgrade", "Content-Length: 0"),
			[]string{"HTTP/1.1 426 Upgrade First", "Upgrade: websocket", "Connection: Upgrade"}},
		"a long phrase":       {head("HTTP/1.1 200 "+strings.Repeat("fine", 1250), "Content-Length: 0"), []string{"HTTP/1.1 200 " + strings.Repeat("fine", 1250)}},
		"a phrase with a NUL": {head("HTTP/1.1 404 Gone\x00", "Content-Length: 0"), []string{"HTTP/1.1 404 Not Found"}},
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				g := newSetup(driver, backend.Addr().String()).run(t)
				c := g.dial(t)
				c.send(t, getting("/first")+getting("/second"))
				b := backend.accept(t)
				b.send(t, test.answer)
				b.readHead(t)
				b.send(t, answering("second"))
				c.mayWait()
				for _, want := range test.want {
					for {
						line, err := c.reader.ReadString('\n')
						if err != nil {
							t.Fatalf("%v, want the line %q", err, want)
						}
						if line == want+"\r\n" {
							break
						}
						if strings.HasPrefix(line, "HTTP/1.1 200 OK") {
							t.Fatalf("the next answer comes, want the line %.80q", want)
						}
					}
				}
				for { // the rest of the head
					line, err := c.reader.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					if line == "\r\n" {
						break
					}
				}
				c.wantBody(t, 200, "second")
			})
		})
	}
}

// A size that net/http refuses is the client's fault as any other, and so are chunks that are mostly something else.
// Faults D: a chunk size of 20 digits; chunk extensions and trailers.
func TestChunksThatNoReaderTakesAreA400(t *testing.T) {
	for name, body := range map[string]string{
		"20 digits":         "00000000000000000001\r\na\r\n0\r\n\r\n",
		"20 digits, large":  "ffffffffffffffffffff\r\n",
		"many extensions":   strings.Repeat("1;"+strings.Repeat("x", 4000)+"\r\na\r\n", 10),
		"a trailer of 8 KB": "1\r\na\r\n0\r\nX-Long: " + strings.Repeat("x", 8000) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				g := newSetup(driver, backend.Addr().String()).run(t)
				c := g.dial(t)
				c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Transfer-Encoding: chunked")+body)
				backend.accept(t).wantGone(t)
				c.wantRefusal(t, 400, "chunk")
				g.wantIdle(t)
				if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
					t.Errorf("%v failures of a backend that did nothing wrong", n)
				}
			})
		})
	}
}
