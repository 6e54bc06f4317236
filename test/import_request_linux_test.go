package test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"sluice/internal/config"
)

// A reply is what came of a request: the answer, and what the backend got.
type reply struct {
	Status   int
	Backend  string            // its address; "": none was asked
	Target   string            // of its request
	Method   string            // of its request
	Asked    map[string]string // fields of its request, names in lower case
	Answered map[string]string // fields of the answer
	Body     string            // of the answer, if no backend was asked
}

// describing returns a handler that answers with the request: a plain one in the body, a WebSocket one in the first message.
func describing(address string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		got := reply{Backend: address, Target: r.RequestURI, Method: r.Method, Asked: lowered(r.Header)}
		got.Asked["host"] = r.Host
		text, err := json.Marshal(got)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		w.Header().Set("X-Powered-By", "a backend")
		w.Header().Set("Content-Type", "application/json")
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			_, _ = w.Write(text)
			return
		}
		up := ws.HTTPUpgrader{Header: http.Header{"X-Powered-By": {"a backend"}}}
		conn, _, _, err := up.Upgrade(r, w)
		if err != nil {
			return
		}
		defer conn.Close()
		_ = wsutil.WriteServerText(conn, text)
		for err == nil {
			_, _, err = wsutil.ReadClientData(conn)
		}
	}
}

func lowered(h http.Header) map[string]string {
	fields := map[string]string{}
	for name, values := range h {
		if !slices.Contains(notCompared, name) {
			fields[strings.ToLower(name)] = strings.Join(values, "|")
		}
	}
	return fields
}

// notCompared are fields of one hop, of the handshake, and those that say who has answered.
var notCompared = []string{
	"Connection", "Upgrade", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Date", "Server", "Via", "Alt-Svc", "Set-Cookie", "Accept-Ranges",
	"Sec-Websocket-Accept", "Sec-Websocket-Key", "Sec-Websocket-Version", "X-Request-Id", "X-Sluice-Hops", "Retry-After", "Cache-Control",
}

// A request is one that the original and the import get.
type compared struct {
	listener    string // address
	isTLS       bool
	host, path  string
	isWebSocket bool
}

func (q compared) String() string {
	kind := "GET"
	if q.isWebSocket {
		kind = "WebSocket"
	}
	if q.isTLS {
		kind += " over TLS"
	}
	return kind + " " + q.host + " " + q.path
}

// requestsFor returns requests that match each route of an import, and others that miss it nearly: each of its hosts with each of its paths.
func requestsFor(file *config.File, more []string) (all []compared) {
	hosts, paths := []string{"elsewhere.test"}, append([]string{"/", "/other?a=b"}, more...)
	for i := range file.Route {
		r := &file.Route[i]
		for _, host := range append([]string{r.Host}, r.Hosts...) {
			if host != "" {
				hosts = append(hosts, strings.NewReplacer("*.", "a.", ".*", ".test").Replace(host))
			}
		}
		switch path := strings.TrimSuffix(r.Path, "/"); {
		case r.PathExact != "":
			paths = append(paths, r.PathExact, r.PathExact+"/", r.PathExact+"x")
		case path != "":
			paths = append(paths, path, path+"/", path+"/x/y?z=1", path+"x")
		}
	}
	for _, list := range []*[]string{&hosts, &paths} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for i := range file.Listener {
		l := &file.Listener[i]
		for _, host := range hosts {
			for _, path := range paths {
				for _, isWebSocket := range []bool{false, true} {
					all = append(all, compared{l.Address, l.TLS != nil, host, path, isWebSocket})
				}
			}
		}
	}
	return all
}

// ask sends the requests, each on a connection of its own.
func (s *stage) ask(all []compared) []reply {
	replies := make([]reply, len(all))
	for i, q := range all {
		var err error
		if replies[i], err = q.send(); err != nil {
			s.t.Errorf("%v: %v", q, err)
		}
	}
	return replies
}

// send sends the request and reads the answer. A connection that ends without one is an answer of status 0.
func (q compared) send() (got reply, err error) {
	conn, err := net.DialTimeout("tcp", q.listener, patience)
	if err != nil {
		return got, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if q.isTLS {
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: q.host})
		if err := secure.Handshake(); err != nil {
			return got, err
		}
		conn = secure
	}
	lines := []string{"GET " + q.path + " HTTP/1.1", "Host: " + q.host, "User-Agent: compare", "X-Probe: 1", "Cookie: a=b"}
	if q.isWebSocket {
		lines = append(lines, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: https://"+q.host)
	} else {
		lines = append(lines, "Connection: close")
	}
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		return got, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return got, nil
	}
	var body []byte
	if response.StatusCode == http.StatusSwitchingProtocols {
		first, err := readFrame(reader)
		if err != nil {
			return got, fmt.Errorf("first message: %w", err)
		}
		body = first.Payload
	} else if body, err = io.ReadAll(response.Body); err != nil {
		return got, fmt.Errorf("body: %w", err)
	}
	if json.Unmarshal(body, &got) != nil || got.Backend == "" {
		got = reply{Body: string(body)}
	}
	got.Status, got.Answered = response.StatusCode, lowered(response.Header)
	if got.Backend == "" {
		delete(got.Answered, "content-type")
	}
	return got, nil
}
