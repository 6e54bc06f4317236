package proxy

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// claims are the fields by which a request names its client. A test gives those that the backend gets on each path.
type claims map[string]string

func TestOnlyTrustedProxiesNameTheClient(t *testing.T) {
	loopback := []string{"127.0.0.0/8"}
	for name, test := range map[string]struct {
		trusted []string
		proxy   string // the PROXY header; "" if the listener requires none
		fields  []string
		client  string // in the access log; without a port if the port isn't known
		want    claims // "-" means no field; "own" in X-Request-Id means the gateway's id
	}{
		"a stranger says nothing": {nil, "", nil, "127.0.0.1:",
			claims{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "gateway.test", "X-Request-Id": "own"}},
		"a stranger's claims are dropped": {[]string{"10.0.0.0/8"}, "",
			[]string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test", "X-Forwarded-Port: 1", "X-Request-Id: forged", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1", "X-Client-Cert-Subject: CN=root"},
			"127.0.0.1:",
			claims{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "gateway.test", "X-Forwarded-Port": "-", "X-Request-Id": "own", "Forwarded": "-", "X-Real-IP": "-", "X-Real-Ip": "-", "X-Client-Cert-Subject": "-"}},
		"and those with underscores, from anybody": {loopback, "",
			[]string{"X_Forwarded_For: 192.0.2.1", "x-forwarded_proto: https", "X_Request_Id: forged", "X_Real_IP: 192.0.2.1", "X_CLIENT-CERT_Subject: CN=root", "X_Forwarded_Anything: 1"},
			"127.0.0.1:",
			claims{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Request-Id": "own", "_": "-"}},
		"a proxy is believed": {loopback, "",
			[]string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: public.test", "X-Request-Id: theirs", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"},
			"192.0.2.1:",
			claims{"X-Forwarded-For": "192.0.2.1, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "public.test", "X-Request-Id": "theirs", "Forwarded": "for=192.0.2.1"}},
		"an empty claim is none": {loopback, "", []string{"X-Forwarded-For:", "X-Forwarded-For: "},
			"127.0.0.1:", claims{"X-Forwarded-For": "127.0.0.1"}},
		"only as far back as proxies stand": {[]string{"127.0.0.1", "10.0.0.0/8"}, "",
			[]string{"X-Forwarded-For: 198.51.100.9, 192.0.2.1, 10.1.1.1", "X-Forwarded-For: 10.2.2.2"},
			"192.0.2.1:", claims{"X-Forwarded-For": "198.51.100.9, 192.0.2.1, 10.1.1.1, 10.2.2.2, 127.0.0.1"}},
		"to the first of the chain where all are proxies": {[]string{"127.0.0.1", "10.0.0.0/8"}, "",
			[]string{"X-Forwarded-For: 10.9.9.9, 10.1.1.1"}, "10.9.9.9:", nil},
		"up to what is no address": {loopback, "",
			[]string{"X-Forwarded-For: 192.0.2.1, unknown, 127.0.0.9"}, "127.0.0.9:", nil},
		"IPv6 in a chain":        {loopback, "", []string{"X-Forwarded-For: 2001:db8::1"}, "[2001:db8::1]:", nil},
		"IPv4 in IPv6's clothes": {loopback, "", []string{"X-Forwarded-For: ::ffff:192.0.2.1"}, "192.0.2.1:", nil},
		"a nominated claim has ended at the proxy": {loopback, "",
			[]string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "Connection: X-Forwarded-Proto"},
			"192.0.2.1:", claims{"X-Forwarded-Proto": "http"}},
		"a PROXY header, version 1": {loopback, "PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n", nil,
			"192.0.2.7:4711", claims{"X-Forwarded-For": "192.0.2.7"}},
		"version 1 over IPv6": {loopback, "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", nil,
			"[2001:db8::7]:4711", claims{"X-Forwarded-For": "2001:db8::7"}},
		"version 1, UNKNOWN": {loopback, "PROXY UNKNOWN\r\n", nil, "127.0.0.1:", claims{"X-Forwarded-For": "127.0.0.1"}},
		"version 2": {loopback, proxy2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xcb\x00\x71\x01\x12\x67\x01\xbb", nil,
			"192.0.2.7:4711", claims{"X-Forwarded-For": "192.0.2.7"}},
		"version 2 with more than addresses": {loopback, proxy2 + "\x21\x11\x00\x12\xc0\x00\x02\x07\xcb\x00\x71\x01\x12\x67\x01\xbb\x02\x00\x03abc", nil,
			"192.0.2.7:4711", claims{"X-Forwarded-For": "192.0.2.7"}},
		"version 2, a health check of the proxy's own": {loopback, proxy2 + "\x20\x00\x00\x00", nil, "127.0.0.1:", nil},
		"whom the PROXY header names is no proxy": {loopback, "PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n",
			[]string{"X-Forwarded-For: 198.51.100.9", "X-Forwarded-Proto: https"},
			"192.0.2.7:4711", claims{"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http"}},
		"unless it is": {[]string{"127.0.0.1", "192.0.2.7"}, "PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n",
			[]string{"X-Forwarded-For: 198.51.100.9", "X-Forwarded-Proto: https"},
			"198.51.100.9:", claims{"X-Forwarded-For": "198.51.100.9, 192.0.2.7", "X-Forwarded-Proto": "https"}},
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.Listeners[0].TrustedProxies, s.Listeners[0].ProxyProtocol = test.trusted, test.proxy != ""
				g := s.run(t)
				for i, ask := range []string{getting("/", append(slices.Clone(test.fields), "Connection: close")...), asking("/", test.fields...)} {
					c := g.dial(t)
					c.send(t, test.proxy+ask)
					b := backend.accept(t)
					for field, want := range test.want {
						wantField(t, b, field, want)
					}
					b.send(t, head("HTTP/1.1 403 No", "Content-Length: 0", "Connection: close"))
					c.wantBody(t, 403, "")
					if got := g.lines(t, i+1)[i].ContextMap()["client"].(string); !strings.HasPrefix(got, test.client) {
						t.Errorf("the client is %q, want %q", got, test.client)
					}
				}
			})
		})
	}
}

const proxy2 = "\r\n\r\n\x00\r\nQUIT\n"

func wantField(t *testing.T, b *wire, field, want string) {
	t.Helper()
	switch got := b.field(field); {
	case field == "_":
		if strings.Contains(b.head, "_") {
			t.Errorf("a field with underscores arrives: %q", b.head)
		}
	case want == "own":
		if len(got) != 16 {
			t.Errorf("%s: %q, want the gateway's own", field, got)
		}
	case want == "-" && got != "", want != "-" && got != want:
		t.Errorf("%s: %q, want %q", field, got, want)
	}
}

func TestAConnectionWithoutItsPROXYHeaderEnds(t *testing.T) {
	for name, test := range map[string]struct {
		trusted, text string
	}{
		"no header":              {"127.0.0.1", getting("/")},
		"from a stranger":        {"10.0.0.0/8", "PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n" + getting("/")},
		"garbage of version 1":   {"127.0.0.1", "PROXY TCP4 nowhere\r\n"},
		"version 1 without end":  {"127.0.0.1", "PROXY " + strings.Repeat("x", 200)},
		"an unknown version":     {"127.0.0.1", proxy2 + "\x31\x11\x00\x0c" + strings.Repeat("x", 12)},
		"version 2 for nothing":  {"127.0.0.1", proxy2 + "\x21\x11\x00\x02xx"},
		"half of it, then quiet": {"127.0.0.1", proxy2 + "\x21\x11"},
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.Listeners[0].ProxyProtocol, s.Listeners[0].TrustedProxies = true, []string{test.trusted}
				s.Listeners[0].HeadTimeout = milliseconds(300)
				g := s.run(t)
				c := g.dial(t)
				c.send(t, test.text)
				c.wantGone(t)
				backend.wantNoConnection(t)
			})
		})
	}
}

func TestUnixSocketsOnBothSides(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		directory := t.TempDir()
		path := filepath.Join(directory, "backend")
		backend := listenAt(t, "unix", path)
		s := newSetup(driver, "unix:"+path)
		s.Listeners[0].Address = "unix:" + filepath.Join(directory, "gateway")
		s.Listeners[0].MaxSessionsPerIP, s.Pools[0].SendProxy = 1, true
		g := s.run(t)
		// Clients without an address are not limited by address, and the backend gets no address.
		for range 2 {
			c := g.dial(t)
			c.send(t, asking("/"))
			b := backend.connected(t)
			local := make([]byte, 16)
			b.mayWait()
			if _, err := b.reader.Read(local); err != nil || string(local) != proxy2+"\x20\x00\x00\x00" {
				t.Fatalf("%q, %v; want a LOCAL header", local, err)
			}
			b.readHead(t)
			if got := b.field("X-Forwarded-For"); got != "" {
				t.Errorf("X-Forwarded-For %q", got)
			}
			b.send(t, switching())
			c.wantOpen(t)
			wantLive(t, c, b)
		}
		c := g.dial(t)
		c.send(t, getting("/"))
		b := backend.connected(t)
		if _, err := b.reader.Discard(16); err != nil {
			t.Fatal(err)
		}
		b.readHead(t)
		b.send(t, answering("plain"))
		c.wantBody(t, 200, "plain")
		if line := g.lines(t, 1)[0].ContextMap(); line["client"] != "unix" {
			t.Errorf("the access log says %v", line)
		}
	})
}

func TestAnUnusedSocketFileIsReplacedAndOneInUseIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	if ln, err := listen("unix:" + path); err == nil {
		_ = ln.Close()
		t.Error("a socket in use is replaced")
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	ln, err := listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
}
