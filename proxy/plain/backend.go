package plain

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/internal/recovery"
	"sluice/upgrade"
)

// A backendConn is a connection to a backend, as net/http's transport sees it. A write fails when the backend takes nothing for the
// write_timeout of the request's route. Its reads are those of one goroutine at a time, and so are its writes.
type backendConn struct {
	net.Conn
	panics       recovery.Handler
	open         *atomic.Int64              // counts this connection until it is closed
	isClosed     atomic.Bool                // Close has been called
	owner        *Conn                      // to which alone it is of use; nil: to any. Immutable
	writeTimeout atomic.Int64               // of the request under way; a time.Duration
	body         atomic.Pointer[clientBody] // of the request under way, until its answer has begun; nil: it has none
	isAsked      atomic.Bool                // a request was given to it, and nothing of the answer has been read
	isWritten    atomic.Bool                // a byte of the request under way was
	hasSent      bool
	isShared     bool // by several requests at a time, over HTTP/2. Immutable

	answer answerHead // owned by the goroutine that reads; then by that which sent the request
}

// begin has the connection serve a request.
func (c *backendConn) begin(r *Request, body *clientBody) {
	c.writeTimeout.Store(int64(r.Route.WriteTimeout))
	if c.isShared {
		c.isWritten.Store(true) // nothing shows that it isn't
		return
	}
	c.body.Store(body)
	c.isAsked.Store(true)
	c.isWritten.Store(false)
}

// Close implements net.Conn.
func (c *backendConn) Close() error {
	if !c.isClosed.Swap(true) {
		c.open.Add(-1)
	}
	if c.owner != nil {
		c.owner.release(c)
	}
	return c.Conn.Close()
}

// hasAnswered notes that the head of the answer has come: what happens to the connection no longer concerns the request's body.
func (c *backendConn) hasAnswered() { c.body.Store(nil) }

// Read implements net.Conn. net/http's transport calls it on a goroutine that recovers no panic.
//
// The transport tells of a connection's end only after it has sent all of the request, for which it waits for the client. So it is here
// that the end of the connection ends the request's body.
func (c *backendConn) Read(p []byte) (n int, err error) {
	defer c.panics.Catch(room, func() { n, err = 0, upgrade.ErrInternal })
	n, err = c.Conn.Read(p)
	if c.isShared {
		return n, err
	}
	if n > 0 && c.isAsked.Swap(false) {
		c.answer = answerHead{}
	}
	c.answer.scan(p[:n])
	if err != nil && !errors.Is(err, net.ErrClosed) {
		if body := c.body.Swap(nil); body != nil {
			body.stop()
		}
	}
	return n, err
}

// Write implements net.Conn. A backend may answer a request of which it reads no more, and close: the reset that the rest meets must not
// take the answer from the client's hands. So it is Read that reports it. net/http's transport
// calls it on a goroutine that recovers no panic.
func (c *backendConn) Write(p []byte) (n int, err error) {
	defer c.panics.Catch(room, func() { n, err = 0, upgrade.ErrInternal })
	_ = c.SetWriteDeadline(time.Now().Add(time.Duration(c.writeTimeout.Load())))
	n, err = c.Conn.Write(p)
	if n > 0 {
		c.isWritten.Store(true)
	}
	if c.hasSent && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
		return len(p), nil
	}
	c.hasSent = c.hasSent || n > 0
	return n, err
}

// What is wrong with an answer whose end two readers could see in different places. RFC 9112 section 6.3: "Such a message might indicate an
// attempt to perform request smuggling [...] or response splitting [...] and ought to be handled as an error."
var (
	errTwoLengths = badAnswer("both Content-Length and Transfer-Encoding")
	errOldCoding  = badAnswer("Transfer-Encoding in HTTP/1.0")
	errMisspelt   = badAnswer("Content-Length or Transfer-Encoding with white space before its colon")
)

func badAnswer(problem string) *upgrade.Rejection {
	return &upgrade.Rejection{Status: upgrade.ErrBadAnswer.Status, Reason: upgrade.ErrBadAnswer.Reason, Text: "the backend's answer was refused: " + problem}
}

// An answerHead finds out what net/http's transport doesn't tell of the head of an answer: it drops a Content-Length where the body is
// chunked, and Transfer-Encoding from an answer in HTTP/1.0. The zero value is before the first octet of an answer.
type answerHead struct {
	line      [len("transfer-encoding:")]byte // the beginning of the current line, in lower case
	lineBytes int                             // up to len(line)
	isEnded   bool
	isStatus  bool // the status line has been read
	isInterim bool
	isHTTP10  bool

	hasLength  bool
	hasCoding  bool
	isMisspelt bool // one of these two has white space before its colon: some readers see such a field, net/http doesn't
}

// fault returns an error if the end of the answer's body is one thing to one reader and another to the next.
func (a *answerHead) fault() error {
	switch {
	case a.isMisspelt:
		return errMisspelt
	case a.hasCoding && a.hasLength:
		return errTwoLengths
	case a.hasCoding && a.isHTTP10:
		return errOldCoding
	default:
		return nil
	}
}

// scan takes what comes next on the connection. Once the head is complete it does nothing.
func (a *answerHead) scan(p []byte) {
	for len(p) > 0 && !a.isEnded {
		part, rest, isWhole := bytes.Cut(p, []byte{'\n'})
		for _, c := range part[:min(len(part), len(a.line)-a.lineBytes)] {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			a.line[a.lineBytes] = c
			a.lineBytes++
		}
		if isWhole {
			a.endLine()
		}
		p = rest
	}
}

// endLine takes the line that is complete.
func (a *answerHead) endLine() {
	line := string(bytes.TrimRight(a.line[:a.lineBytes], "\r"))
	name, _, _ := strings.Cut(line, ":")
	field := strings.TrimRight(name, " \t")
	a.lineBytes = 0
	switch {
	case !a.isStatus:
		a.isStatus = true
		a.isHTTP10 = strings.HasPrefix(line, "http/1.0")
		a.isInterim = len(line) > len("http/1.1 ") && line[len("http/1.1 ")] == '1'
	case line == "" && a.isInterim:
		*a = answerHead{}
	case line == "":
		a.isEnded = true
	case field == "content-length":
		a.hasLength, a.isMisspelt = true, a.isMisspelt || field != name
	case field == "transfer-encoding":
		a.hasCoding, a.isMisspelt = true, a.isMisspelt || field != name
	}
}

// openingOf returns the first lines of an answer as far as net/http's server would not write them: the reason phrase, behind which the
// status line ends, what a 304 says of the answer that it stands for, and the protocols of a 426, which are those given.
func openingOf(resp *http.Response, protocols []string) []byte {
	_, phrase, _ := strings.Cut(resp.Status, " ")
	if strings.ContainsFunc(phrase, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
		phrase = http.StatusText(resp.StatusCode)
	}
	lines := append([]byte(phrase), "\r\n"...)
	add := func(name string, values []string) {
		for _, value := range values {
			lines = append(lines, name+": "+value+"\r\n"...)
		}
	}
	switch resp.StatusCode {
	case http.StatusNotModified:
		add("Content-Length", resp.Header["Content-Length"])
		add("Content-Type", resp.Header["Content-Type"])
	case http.StatusUpgradeRequired:
		add("Upgrade", protocols)
		lines = append(lines, "Connection: Upgrade\r\n"...) // RFC 9110 section 7.8
	}
	return lines
}
