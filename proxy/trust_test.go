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
	forged := []string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Request-Id: forged", "X-Client-Cert-Subject: CN=root"}
	dropped := claims{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Request-Id": "own", "X-Client-Cert-Subject": "-"}
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
			claims{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "gateway.test", "X-Forwarded-Port": "-", "X-Request-Id": "own", "Forwarded": "-", "X-Real-IP": "127.0.0.1", "X-Client-Cert-Subject": "-"}},
		"and those with underscores, from anybody": {loopback, "",
			[]string{"X_Forwarded_For: 192.0.2.1", "x-forwarded_proto: https", "X_Request_Id: forged", "X_Real_IP: 192.0.2.1", "X_CLIENT-CERT_Subject: CN=root", "X_Forwarded_Anything: 1"},
			"127.0.0.1:",
			claims{"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Request-Id": "own", "_": "-"}},
		"a proxy is believed": {loopback, "",
			[]string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: public.test", "X-Request-Id: theirs", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"},
			"192.0.2.1:",
			claims{"X-Forwarded-For": "192.0.2.1, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "public.test", "X-Request-Id": "theirs", "Forwarded": "for=192.0.2.1", "X-Real-IP": "192.0.2.1"}},
		"a proxy's X-Real-IP is its own affair": {loopback, "", []string{"X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.2"},
			"192.0.2.1:", claims{"X-Real-IP": "192.0.2.2"}},
		"X-Real-IP is the client that a proxy names": {loopback, "", []string{"X-Forwarded-For: 192.0.2.1"}, "192.0.2.1:", claims{"X-Real-IP": "192.0.2.1"}},
		// Faults B6.
		"an empty claim is none": {loopback, "", []string{"X-Forwarded-For:", "X-Forwarded-For: "},
			"127.0.0.1:", claims{"X-Forwarded-For": "127.0.0.1"}},
		"only as far back as proxies stand": {[]string{"127.0.0.1", "10.0.0.0/8"}, "",
			[]string{"X-Forwarded-For: 198.51.100.9, 192.0.2.1, 10.1.1.1", "X-Forwarded-For: 10.2.2.2"},
			"192.0.2.1:", claims{"X-Forwarded-For": "198.51.100.9, 192.0.2.1, 10.1.1.1, 10.2.2.2, 127.0.0.1"}},
		"to the first of the chain where all are proxies": {[]string{"127.0.0.1", "10.0.0.0/8"}, "",
			[]string{"X-Forwarded-For: 10.9.9.9, 10.1.1.1"}, "10.9.9.9:", nil},
		"up to what is no address": {loopback, "",
			[]string{"X-Forwarded-For: 192.0.2.1, unknown, 127.0.0.9"}, "127.0.0.9:", nil},
		// Faults B4.
		"an address with a port":          {loopback, "", []string{"X-Forwarded-For: 203.0.113.9:41234"}, "203.0.113.9:", claims{"X-Forwarded-For": "203.0.113.9:41234, 127.0.0.1"}},
		"ports in a chain":                {loopback, "", []string{"X-Forwarded-For: 198.51.100.9, 203.0.113.9:1, 127.0.0.9:2"}, "203.0.113.9:", nil},
		"IPv6 in brackets with a port":    {loopback, "", []string{"X-Forwarded-For: [2001:db8::1]:443"}, "[2001:db8::1]:", nil},
		"IPv6 in brackets":                {loopback, "", []string{"X-Forwarded-For: [2001:db8::1]"}, "[2001:db8::1]:", nil},
		"IPv6 with a zone":                {loopback, "", []string{"X-Forwarded-For: fe80::1%eth0"}, "[fe80::1]:", nil},
		"a trusted one with a zone":       {[]string{"127.0.0.1", "fe80::/10"}, "", []string{"X-Forwarded-For: 203.0.113.9, fe80::1%eth0"}, "203.0.113.9:", nil},
		"IPv4 in IPv6 with a port":        {loopback, "", []string{"X-Forwarded-For: [::ffff:203.0.113.9]:1"}, "203.0.113.9:", nil},
		"empty elements":                  {loopback, "", []string{"X-Forwarded-For: 203.0.113.9, , 127.0.0.9,"}, "203.0.113.9:", nil},
		"a port that is none":             {loopback, "", []string{"X-Forwarded-For: 203.0.113.9:http"}, "127.0.0.1:", nil},
		"a port that is too large":        {loopback, "", []string{"X-Forwarded-For: 203.0.113.9:65536"}, "127.0.0.1:", nil},
		"a bracket that is not closed":    {loopback, "", []string{"X-Forwarded-For: [2001:db8::1"}, "127.0.0.1:", nil},
		"brackets around nothing":         {loopback, "", []string{"X-Forwarded-For: []"}, "127.0.0.1:", nil},
		"a proxy's word on a certificate": {loopback, "", []string{"X-Client-Cert-Subject: CN=root"}, "127.0.0.1:", claims{"X-Client-Cert-Subject": "-"}}, // Faults B12.
		"and in other spellings":          {loopback, "", []string{"X.Client.Cert.Subject: CN=root", "X-Client_Cert!Subject: CN=root"}, "127.0.0.1:", claims{"X.Client.Cert.Subject": "-", "X-Client_Cert!Subject": "-"}},
		"framing in other spellings":      {loopback, "", []string{"Transfer_Encoding: chunked", "Content.Length: 5"}, "127.0.0.1:", claims{"Transfer_Encoding": "-", "Content.Length": "-"}},
		"IPv6 in a chain":                 {loopback, "", []string{"X-Forwarded-For: 2001:db8::1"}, "[2001:db8::1]:", nil},
		"IPv4 in IPv6's clothes":          {loopback, "", []string{"X-Forwarded-For: ::ffff:192.0.2.1"}, "192.0.2.1:", nil},
		"a nominated claim has ended at the proxy": {loopback, "",
			[]string{"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "Connection: X-Forwarded-Proto"},
			"192.0.2.1:", claims{"X-Forwarded-Proto": "http"}},
		"a PROXY header, version 1": {loopback, "PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n", nil,
			"192.0.2.7:4711", claims{"X-Forwarded-For": "192.0.2.7", "X-Real-IP": "192.0.2.7"}},
		"version 1 over IPv6": {loopback, "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", nil,
			"[2001:db8::7]:4711", claims{"X-Forwarded-For": "2001:db8::7", "X-Real-IP": "2001:db8::7"}},
		// A header that names no TCP source: the balancer is the peer, but what comes may be its client's. Faults B12.
		"version 1, UNKNOWN":           {loopback, "PROXY UNKNOWN\r\n", forged, "127.0.0.1:", dropped},
		"version 2 over UDP":           {loopback, proxy2 + "\x21\x12\x00\x0c\xc0\x00\x02\x07\xcb\x00\x71\x01\x12\x67\x01\xbb", forged, "127.0.0.1:", dropped},
		"version 2 over a Unix socket": {loopback, proxy2 + "\x21\x31\x00\xd8" + strings.Repeat("a", 216), forged, "127.0.0.1:", dropped},
		"version 2": {loopback, proxy2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xcb\x00\x71\x01\x12\x67\x01\xbb", nil,
			"192.0.2.7:4711", claims{"X-Forwarded-For": "192.0.2.7"}},
		"version 2 with more than addresses": {loopback, proxy2 + "\x21\x11\x00\x12\xc0\x00\x02\x07\xcb\x00\x71\x01\x12\x67\x01\xbb\x02\x00\x03abc", nil,
			"192.0.2.7:4711", claims{"X-Forwarded-For": "192.0.2.7"}},
		"version 2, a health check of the proxy's own": {loopback, proxy2 + "\x20\x00\x00\x00", forged, "127.0.0.1:", dropped},
		"LOCAL with addresses":                         {loopback, proxy2 + "\x20\x11\x00\x0c\xc0\x00\x02\x07\xcb\x00\x71\x01\x12\x67\x01\xbb", forged, "127.0.0.1:", dropped},
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

// Faults B12.
func TestACertificateIsBelievedOfAProxyOnlyIfTheOperatorSaysSo(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].TrustedProxies, s.Listeners[0].TrustedClientCertificate = []string{"127.0.0.1"}, true
		g := s.run(t)
		for _, ask := range []string{asking("/", "X-Client-Cert-Subject: CN=a"), getting("/", "X-Client-Cert-Subject: CN=a")} {
			c := g.dial(t)
			c.send(t, ask)
			wantField(t, backend.accept(t), "X-Client-Cert-Subject", "CN=a")
			_ = c.Close()
		}
	})
}

// Faults B12.
func TestSendersOfPROXYHeadersAreNotTrustedWithFields(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		l := &s.Listeners[0]
		l.ProxyProtocol, l.ProxyProtocolFrom, l.TrustedProxies = true, []string{"127.0.0.1"}, []string{"192.0.2.7"}
		g := s.run(t)
		for source, want := range map[string]string{"192.0.2.7": "198.51.100.9, 192.0.2.7", "192.0.2.8": "192.0.2.8"} {
			for _, ask := range []string{asking("/", "X-Forwarded-For: 198.51.100.9"), getting("/", "X-Forwarded-For: 198.51.100.9")} {
				c := g.dial(t)
				c.send(t, "PROXY TCP4 "+source+" 203.0.113.1 4711 443\r\n"+ask)
				wantField(t, backend.accept(t), "X-Forwarded-For", want)
				_ = c.Close()
			}
		}
		l.ProxyProtocolFrom, l.TrustedProxies = []string{"192.0.2.7"}, []string{"127.0.0.1"}
		c := s.run(t).dial(t)
		c.send(t, "PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n"+asking("/"))
		c.wantGone(t)
	})
}

// Faults B4.
func TestAnUnreadableForwardedForIsCounted(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].TrustedProxies = []string{"127.0.0.1"}
		g := s.run(t)
		for i, ask := range []string{asking("/", "X-Forwarded-For: 192.0.2.1, unknown"), getting("/", "X-Forwarded-For: _hidden")} {
			c := g.dial(t)
			c.send(t, ask)
			backend.accept(t)
			if n := g.metric(t, "sluice_forwarded_for_unreadable_total", "listener=public"); int(n) != i+1 {
				t.Errorf("%v counted, want %d", n, i+1)
			}
			_ = c.Close()
		}
	})
}

// Faults C6.
func TestALoopOfGatewaysEnds(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		s := newSetup(driver, closedAddress(t))
		g := s.run(t)
		for _, ask := range []string{asking("/", "X-Sluice-Hops: 9"), getting("/", "X-Sluice-Hops: 9")} {
			c := g.dial(t)
			c.send(t, ask)
			c.wantRefusal(t, 508, "own backend")
		}
		// A gateway whose backend is a listener of its own.
		_, port, _ := net.SplitHostPort(g.address())
		s = newSetup(driver, "127.0.0.1:"+port)
		s.Listeners[0].Address = g.address()
		g.Close()
		g = s.run(t)
		for _, ask := range []string{asking("/"), getting("/", "Connection: close")} {
			c := g.dial(t)
			c.send(t, ask)
			c.wantBody(t, 508, "the request has passed too many gateways: one of them seems to be its own backend\n")
		}
		eventually(t, "both requests counted", func() bool { return g.metric(t, "sluice_handshakes_rejected_total", "reason=loop") == 2 })
	})
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
