package proxy

import (
	"bufio"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The suite of interoperability: heads as real clients and servers send them. testdata/interoperability has them, and says how to add one;
// docs/interoperability.md is made of it.

var writesPage = flag.Bool("interoperability.write", false, "write docs/interoperability.md anew")

// A sample is an entry of the suite.
type sample struct {
	who, shape, why string
	isProxy         bool     // the peer is a trusted proxy
	status          int      // of the answer
	reason          string   // of a refusal
	client          string   // in the access log; "" means any
	gets, lacks     []string // lines that the receiver gets, names of fields that it does not
	body            string   // of an answer
	text            string   // as it is sent
	lines           []string // of text
}

// readSamples reads a file of the suite.
func readSamples(t *testing.T, name string) (all []sample) {
	t.Helper()
	text, err := os.ReadFile("testdata/interoperability/" + name)
	if err != nil {
		t.Fatal(err)
	}
	_, entries, _ := strings.Cut(string(text), "\n=== ")
	for entry := range strings.SplitSeq(entries, "\n=== ") {
		about, head, _ := strings.Cut(entry, "\n\n")
		who, about, _ := strings.Cut(about, "\n")
		s := sample{who: who}
		for line := range strings.SplitSeq(about, "\n") {
			key, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			switch key {
			case "shape":
				s.shape = value
			case "why":
				s.why = value
			case "from":
				s.isProxy = value == "proxy"
			case "status":
				s.status, err = strconv.Atoi(value)
			case "reason":
				s.reason = value
			case "client":
				s.client = value
			case "gets":
				s.gets = append(s.gets, value)
			case "lacks":
				s.lacks = append(s.lacks, value)
			case "body":
				s.body = value
			case "seen":
			default:
				t.Fatalf("%s: %s: unknown key %q", name, who, key)
			}
			if err != nil {
				t.Fatalf("%s: %s: %v", name, who, err)
			}
		}
		if s.shape == "" || s.status == 0 {
			t.Fatalf("%s: %s: no shape or no status", name, who)
		}
		s.setText(t, strings.TrimRight(head, "\n"))
		all = append(all, s)
	}
	return all
}

// setText takes what is sent, as the file has it.
func (s *sample) setText(t *testing.T, head string) {
	t.Helper()
	lines := strings.Split(head, "\n")
	for i, line := range lines {
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("%s: line %q: %v", s.who, line, err)
		}
		s.lines = append(s.lines, strings.TrimPrefix(text, "\r\n"))
		if isLast := i == len(lines)-1; !strings.HasSuffix(text, "\n") && !(isLast && strings.Contains(s.text, "\r\n\r\n")) {
			text += "\r\n"
		}
		s.text += text
	}
	if !strings.Contains(s.text, "\r\n\r\n") && !strings.HasSuffix(s.text, "\n\n") {
		s.text += "\r\n"
	}
}

// wantPassed checks that a head that was passed on has the lines of the sample.
func (s *sample) wantPassed(t *testing.T, got string, isSame func(got, sent string) bool) {
	t.Helper()
	has := func(line string) bool {
		for g := range strings.SplitSeq(got, "\r\n") {
			if isSame(g, line) {
				return true
			}
		}
		return false
	}
	for _, line := range s.gets {
		if !has(line) {
			t.Errorf("no line %q in %q", line, got)
		}
	}
	for _, line := range s.lines[1:] {
		if line == "" {
			break
		}
		name, _, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Upgrade") {
			continue
		}
		if isLacking := containsFold(s.lacks, name); has(line) == isLacking {
			t.Errorf("line %q is there: %v, in %q", line, !isLacking, got)
		}
	}
}

func containsFold(all []string, name string) bool {
	for _, other := range all {
		if strings.EqualFold(other, name) {
			return true
		}
	}
	return false
}

func isSameLine(got, sent string) bool { return got == strings.TrimRight(sent, " ") || got == sent }

// isSameField compares lines of plain requests: net/http writes their names in its own way.
func isSameField(got, sent string) bool {
	name, value, _ := strings.Cut(got, ":")
	sentName, sentValue, _ := strings.Cut(sent, ":")
	return strings.EqualFold(name, sentName) && strings.TrimSpace(value) == strings.TrimSpace(sentValue)
}

// isSameLine returns how lines are compared that a transport carries.
func (r transport) isSameLine() func(got, sent string) bool {
	if r.isFront || r.isBack {
		return isCarried
	}
	return isSameLine
}

// isCarried compares lines that HTTP/2 carried as fields: each hop has a key of its own, and cookies are joined (RFC 9113 section 8.2.3).
func isCarried(got, sent string) bool {
	name, value, _ := strings.Cut(got, ":")
	sentName, sentValue, _ := strings.Cut(sent, ":")
	if !strings.EqualFold(name, sentName) {
		return false
	}
	switch strings.ToLower(name) {
	case "sec-websocket-key", "sec-websocket-accept":
		return true
	case "cookie":
		return strings.Contains("; "+strings.TrimSpace(value)+"; ", "; "+strings.TrimSpace(sentValue)+"; ")
	}
	return strings.TrimSpace(value) == strings.TrimSpace(sentValue)
}

// withSuite runs a test with each transport, as with does, without and with TLS, on a gateway whose listener "proxied" has a trusted proxy as its client.
func withSuite(t *testing.T, with func(*testing.T, func(*testing.T, string)), test func(t *testing.T, g *gateway, backend rawBackend, dial func(t *testing.T, listener string) *wire)) {
	with(t, func(t *testing.T, driver string) {
		for _, isSecure := range []bool{false, true} {
			if each := transportNamed(driver); isSecure && (each.isFront || each.isBack) {
				continue // its bridges have TLS
			}
			t.Run(map[bool]string{false: "plain", true: "tls"}[isSecure], func(t *testing.T) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				proxied := newListener("proxied", "127.0.0.1:0")
				proxied.TrustedProxies = []string{"127.0.0.0/8"}
				s.Listeners = append(s.Listeners, proxied)
				if isSecure {
					s.Listeners[0].TLS, s.Listeners[1].TLS = newTLSServer(), newTLSServer()
				}
				listed := newRouteConfig("pool")
				listed.Path = "/listed"
				listed.Origins = []string{"null", "file://", "https://app.example.com", "chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn"}
				s.Routes = append(s.Routes, listed)
				g := s.run(t)
				test(t, g, backend, func(t *testing.T, listener string) *wire {
					w := dialAddr(t, g.Addr(listener))
					if isSecure {
						w.Conn = tls.Client(w.Conn, &tls.Config{InsecureSkipVerify: true})
						w.reader = bufio.NewReader(w.Conn)
					}
					return w
				})
			})
		}
	})
}

func TestInteroperabilityOfRequests(t *testing.T) {
	all := readSamples(t, "requests.txt")
	withSuite(t, withTransports, func(t *testing.T, g *gateway, backend rawBackend, dial func(t *testing.T, listener string) *wire) {
		for i := range 2 * len(all) {
			s, isLater := &all[i/2], i%2 == 1
			if g.transport.isFront && !s.isForHTTP2() {
				continue
			}
			t.Run(s.who+map[bool]string{false: "", true: ", after another request"}[isLater], func(t *testing.T) {
				before := g.access.Len()
				c := dial(t, map[bool]string{false: "public", true: "proxied"}[s.isProxy])
				if isLater {
					c.send(t, getting("/before"))
					backend.accept(t).send(t, answering("before", "Connection: close"))
					c.wantBody(t, 200, "before")
					before++
					g.lines(t, before) // streams have no order
				}
				c.send(t, s.text)
				if s.status == 101 || s.status == 200 {
					s.serve(t, g, c, backend)
				} else {
					c.wantRefusal(t, s.status, "")
				}
				_ = c.Close()
				s.wantLine(t, g, before)
			})
		}
		backend.wantNoConnection(t)
	})
}

// isForHTTP2 reports whether a request can be made of fields. What concerns lines, the request line, the key, Connection and Upgrade can't.
func (s *sample) isForHTTP2() bool {
	_, target, _ := strings.Cut(s.lines[0], " ")
	if !strings.HasPrefix(target, "/") || !strings.HasSuffix(target, " HTTP/1.1") || strings.Contains(strings.ReplaceAll(s.text, "\r\n", ""), "\n") {
		return false
	}
	switch s.reason {
	case "":
		return s.status == 101 || !strings.Contains(strings.ToLower(s.text), "\nsec-websocket-key:")
	case "origin", "bad_protocol", "bad_extensions", "encoded_slash", "path_parameter", "dot_segment", "loop":
		return true
	}
	return false
}

// serve answers an accepted request as a backend.
func (s *sample) serve(t *testing.T, g *gateway, c *wire, backend rawBackend) {
	t.Helper()
	b := backend.accept(t)
	method, rest, _ := strings.Cut(s.lines[0], " ")
	target, _, _ := strings.Cut(rest, " ")
	if want := method + " " + target + " HTTP/1.1\r\n"; !strings.HasPrefix(b.head, want) && !strings.HasPrefix(target, "ws:") {
		t.Errorf("the backend gets %q, want %q", b.head, want)
	}
	if s.status == 200 {
		s.wantPassed(t, b.head, isSameField)
		b.send(t, answering("plain", "Connection: close"))
		if response := c.answer(t); response.StatusCode != 200 {
			t.Errorf("status %d, want 200", response.StatusCode)
		}
		return
	}
	s.wantPassed(t, b.head, g.transport.isSameLine())
	key := ""
	for line := range strings.SplitSeq(b.head, "\r\n") {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Sec-WebSocket-Key") {
			key = strings.TrimSpace(value)
		}
	}
	b.send(t, head("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: "+acceptOf(key)))
	if response := c.answer(t); response.StatusCode != 101 {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("status %d, %q; want 101", response.StatusCode, body)
	}
	wantLive(t, c, b)
	_ = b.Close()
}

// wantLine checks the one line of the access log that comes after the first count lines.
func (s *sample) wantLine(t *testing.T, g *gateway, count int) {
	t.Helper()
	line := g.lines(t, count+1)[count].ContextMap()
	status := s.status
	if status == 101 && g.transport.isFront {
		status = 200
	}
	if line["status"] != int64(status) || s.reason != "" && line["reason"] != s.reason {
		t.Errorf("status %v, reason %v; want %d, %s", line["status"], line["reason"], s.status, s.reason)
	}
	if client := line["client"].(string); s.client != "" && !strings.HasPrefix(client, s.client+":") {
		t.Errorf("the client is %s, want %s", client, s.client)
	}
}

func TestInteroperabilityOfAnswers(t *testing.T) {
	all := readSamples(t, "answers.txt")
	const offers = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
	withSuite(t, withFronts, func(t *testing.T, g *gateway, backend rawBackend, dial func(t *testing.T, listener string) *wire) {
		for i := range all {
			s := all[i]
			if s.status == 200 && g.transport.isFront {
				continue // it accepts a WebSocket over HTTP/2, and a 502 takes its place
			}
			t.Run(s.who, func(t *testing.T) {
				before := g.access.Len()
				c := dial(t, "public")
				c.send(t, asking("/", "Sec-WebSocket-Protocol: chat, superchat", offers))
				b := backend.accept(t)
				b.send(t, strings.ReplaceAll(s.text, "ACCEPT", sampleAccept))
				if s.status != 101 {
					_ = b.Close()
				}
				c.readHead(t)
				if want := fmt.Sprintf("HTTP/1.1 %d", s.status); !strings.HasPrefix(c.head, want) {
					t.Fatalf("the client gets %q, want %s", c.head, want)
				}
				if s.reason != "bad_answer" {
					s.lines = strings.Split(strings.ReplaceAll(strings.Join(s.lines, "\n"), "ACCEPT", sampleAccept), "\n")
					s.wantPassed(t, c.head, g.transport.isSameLine())
				}
				switch s.status {
				case 101:
					wantLive(t, c, b)
					_ = b.Close()
				default:
					response, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(c.head), c.reader)), nil)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(response.Body)
					if err != nil || s.reason != "bad_answer" && string(body) != s.body {
						t.Errorf("the client gets the body %q, %v; want %q", body, err, s.body)
					}
				}
				_ = c.Close()
				s.wantLine(t, g, before)
			})
		}
	})
}

// result says what Sluice does, for the page.
func (s *sample) result() string {
	switch {
	case s.status == 101:
		return "accepted"
	case s.reason == "":
		return "a plain request"
	case s.reason == "status":
		return "passed on"
	default:
		return fmt.Sprintf("%d, `%s`", s.status, s.reason)
	}
}

const pageBeginning = `# Interoperability

This page is for operators who want to know whether a client, a backend or a proxy works with Sluice. It lists request and response heads as real
clients, libraries, devices, servers and proxies send them, and what Sluice does with each.

The rule: Sluice accepts what is unambiguous, even if it is unusual, and passes it unchanged. It refuses what two parsers could read differently.
For example, a client that ends lines with LF gets 400 with the reason ` + "`bare_lf`" + `, and the access log has the same reason.

The tests send each head as the first and as a later request of a connection, with both executors of handshakes, without and with TLS. This page is
generated from [proxy/testdata/interoperability](../proxy/testdata/interoperability), which has the heads themselves. To add a head, write it there
and run ` + "`go test ./proxy -run ThePageOfInteroperability -interoperability.write`" + `.
`

// page returns docs/interoperability.md.
func page(requests, answers []sample) string {
	var b strings.Builder
	b.WriteString(pageBeginning)
	for _, part := range []struct {
		title string
		all   []sample
	}{{"Requests", requests}, {"Answers of backends", answers}} {
		fmt.Fprintf(&b, "\n## %s\n\n| sender | special about the head | result | why |\n|---|---|---|---|\n", part.title)
		for i := range part.all {
			s := &part.all[i]
			why := s.why
			if len(s.lacks) > 0 {
				why = strings.TrimPrefix(why+"; not passed: `"+strings.Join(s.lacks, "`, `")+"`", "; ")
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.who, s.shape, s.result(), why)
		}
	}
	return b.String()
}

func TestThePageOfInteroperabilityIsWhatTheSuiteHas(t *testing.T) {
	requests, answers := readSamples(t, "requests.txt"), readSamples(t, "answers.txt")
	if len(requests)+len(answers) < 140 {
		t.Errorf("%d requests and %d answers", len(requests), len(answers))
	}
	const file = "../docs/interoperability.md"
	want := page(requests, answers)
	if *writesPage {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%s is not what the suite has, %v: go test ./proxy -run ThePageOfInteroperability -interoperability.write", file, err)
	}
}
