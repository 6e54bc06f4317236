package upgrade

import (
	"net/netip"
	"strings"
	"testing"
)

// backendHead is what a backend gets of upgradeHead with the kept lines and those of the gateway.
func backendHead(kept []string, ours ...string) string {
	lines := append([]string{"GET /chat HTTP/1.1", "Host: example.com", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + sampleKey}, kept...)
	lines = append(lines, "Upgrade: websocket", "Connection: Upgrade")
	for len(ours) > 0 && (strings.HasPrefix(ours[0], "Host:") || strings.HasPrefix(ours[0], "Sec-")) {
		lines, ours = append(lines, ours[0]), ours[1:]
	}
	return head(append(append(lines, "X-Sluice-Hops: 1"), ours...)...)
}

var peer = netip.MustParseAddr("203.0.113.7")

func wantForwarded(t *testing.T, wire string, f *Forward, want string) {
	t.Helper()
	if got := forwarded(t, wire, f); got != want {
		t.Errorf("request %q to the backend with %+v:\n got %q\nwant %q", wire, *f, got, want)
	}
}

func TestTheClientsOwnLinesPassExceptThoseThatEndAtThisHop(t *testing.T) {
	wantForwarded(t, upgradeHead("keep-alive: 5", "user-agent:  x \t", "TE: trailers", "Trailer: X", "Proxy-Connection: close",
		"Proxy-Authorization: Basic eA==", "Content-Length: 0", "Connection: X-Private,HTTP2-Settings", "x-private: 1", "X-Private: 2", "HTTP2-Settings: AA", "X-Empty:"),
		&Forward{},
		backendHead([]string{"user-agent:  x \t", "X-Empty:"}, "X-Forwarded-Host: example.com"))
}

func TestFieldsThatOnlyATrustedPeerMaySendAreRemoved(t *testing.T) {
	forged := []string{"Forwarded: for=1.1.1.1", "X-Real-IP: 1.1.1.1", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: b",
		"X-Forwarded-Port: 1", "X-Forwarded-Client-Certificate-Chain-Of-The-Peer: b", "X-Request-Id: forged", "X-Client-Cert-Subject: CN=root",
		"X_Forwarded_For: 1.1.1.1", "x-forwarded_proto: https", "X_REAL_IP: 1", "X_Request_Id: 1", "X_Client_Cert_Subject: CN=root",
		"X-Forwarded-Client-Certificate_Chain: b",
		// Whatever stands for a hyphen in a backend's eyes.
		"X.Forwarded.For: 1", "X.Client.Cert.Subject: CN=root", "x~request!id: 1", "Transfer_Encoding: chunked", "Content_Length: 5",
		"Transfer.Encoding: chunked", "Sec_WebSocket_Key: x", "X_Sluice_Hops: 0", "Keep_Alive: 1"}
	wantForwarded(t, upgradeHead(forged...), &Forward{Client: peer, Proto: "http", RequestID: "id-1"},
		backendHead(nil, "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: example.com", "X-Request-Id: id-1"))
	for _, line := range forged {
		name, _, _ := strings.Cut(line, ":")
		if kindOf(name) < kindForwardedFor {
			t.Errorf("%q may come from anybody", name)
		}
	}
	for _, name := range []string{"Host", "Cookie", "X-Forward", "X_Other", "X-Request-Identity", "Authorization", "X.Y", "Content+Type", "X-Forwarded"} {
		if kindOf(name) >= kindForwardedFor {
			t.Errorf("%q may only come from a trusted peer", name)
		}
	}
}

func TestFieldsOfATrustedPeerPassAndItsAddressIsAppended(t *testing.T) {
	said := []string{"X-Forwarded-For: 198.51.100.1, 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: public.example", "X-Request-Id: theirs",
		"Forwarded: for=198.51.100.1", "X-Real-IP: 198.51.100.1", "X-Client-Cert-Subject: CN=a", "X_Forwarded_Proto: ftp",
		"X-Forwarded-Client-Certificate_Chain: a", "X-Forwarded-For: 10.0.0.2", "X-Forwarded-For:"}
	f := &Forward{Trusted: true, Client: peer, Proto: "http", RequestID: "ours"}
	wantForwarded(t, upgradeHead(said...), f, backendHead(
		[]string{said[1], said[2], said[3], said[4], said[5]},
		"X-Forwarded-For: 198.51.100.1, 10.0.0.1, 10.0.0.2, 203.0.113.7"))

	// A proxy passes on what its client has sent: it is believed about certificates only if the operator says so. Faults B12.
	f.TrustedCert = true
	wantForwarded(t, upgradeHead(said[6]), f, backendHead(said[6:7],
		"X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: example.com", "X-Request-Id: ours"))

	f.ClientCert = "CN=b"
	wantForwarded(t, upgradeHead(said[6]), f, backendHead(nil,
		"X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: example.com", "X-Request-Id: ours", "X-Client-Cert-Subject: CN=b"))

	f = &Forward{Trusted: true} // a peer without an address: a Unix socket
	wantForwarded(t, upgradeHead(said[0]), f, backendHead(said[:1], "X-Forwarded-Host: example.com"))
}

func TestXRealIPIsTheClientUnlessATrustedPeerOrTheRouteSaysOtherwise(t *testing.T) {
	const said = "x-real-ip: 198.51.100.1"
	host := "X-Forwarded-Host: example.com"
	for name, test := range map[string]struct {
		sent []string
		f    Forward
		want string
	}{
		"the client's":                    {nil, Forward{RealIP: peer}, backendHead(nil, "X-Real-IP: 203.0.113.7", host)},
		"not what a stranger says":        {[]string{said}, Forward{RealIP: peer}, backendHead(nil, "X-Real-IP: 203.0.113.7", host)},
		"what a trusted peer says":        {[]string{said}, Forward{Trusted: true, RealIP: peer}, backendHead([]string{said}, host)},
		"unless that has ended there":     {[]string{said, "Connection: X-Real-IP"}, Forward{Trusted: true, RealIP: peer}, backendHead(nil, "X-Real-IP: 203.0.113.7", host)},
		"none at a Unix socket":           {[]string{said}, Forward{}, backendHead(nil, host)},
		"in the form of its family":       {nil, Forward{RealIP: netip.MustParseAddr("::ffff:192.0.2.1")}, backendHead(nil, "X-Real-IP: 192.0.2.1", host)},
		"what the route sets":             {[]string{said}, Forward{Trusted: true, RealIP: peer, SetHeaders: []Field{{"X-Real-Ip", "a"}}}, backendHead(nil, host, "X-Real-Ip: a")},
		"nothing where the route says so": {[]string{said}, Forward{Trusted: true, RealIP: peer, RemoveHeaders: []string{"x-real-ip"}}, backendHead(nil, host)},
	} {
		t.Run(name, func(t *testing.T) { wantForwarded(t, upgradeHead(test.sent...), &test.f, test.want) })
	}
}

// Faults C6.
func TestGatewaysAreCounted(t *testing.T) {
	for _, test := range []struct {
		sent []string
		want string
		loop bool
	}{
		{nil, "1", false},
		{[]string{"X-Sluice-Hops: 0"}, "1", false},
		{[]string{"x-sluice-hops: 7"}, "8", false},
		{[]string{"X-Sluice-Hops: 8"}, "9", false},
		{[]string{"X-Sluice-Hops: 9"}, "10", true},
		{[]string{"X-Sluice-Hops: 99999999999"}, "10", true},
		{[]string{"X-Sluice-Hops: 99999999999999999999999999"}, "1", false}, // no gateway's
		{[]string{"X-Sluice-Hops: 2", "X-Sluice-Hops: 1"}, "3", false},
		{[]string{"X-Sluice-Hops: -1"}, "1", false},
		{[]string{"X-Sluice-Hops:"}, "1", false},
		{[]string{"X-Sluice-Hops: 2", "Connection: X-Sluice-Hops"}, "3", false},
	} {
		want := strings.Replace(backendHead(nil, "X-Forwarded-Host: example.com"), "Hops: 1", "Hops: "+test.want, 1)
		wantForwarded(t, upgradeHead(test.sent...), &Forward{}, want)
		if r := mustCheck(t, upgradeHead(test.sent...)); r.IsLoop() != test.loop {
			t.Errorf("%q: a loop is %v, want %v", test.sent, r.IsLoop(), test.loop)
		}
	}
	if CheckFieldName("x-sluice-hops") == nil {
		t.Error("a configuration may change the count of gateways")
	}
}

func TestNominatedFieldsAreRemovedBeforeOursAreAdded(t *testing.T) {
	wantForwarded(t, upgradeHead("Connection: X-Forwarded-For, X-Forwarded-Proto, X-Request-Id", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Request-Id: 1"),
		&Forward{Trusted: true, Client: peer, Proto: "http", RequestID: "ours"},
		backendHead(nil, "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: example.com", "X-Request-Id: ours"))
}

func TestAnAddressIsWrittenWithoutZoneAndMapping(t *testing.T) {
	for addr, want := range map[string]string{"::ffff:192.0.2.1": "192.0.2.1", "fe80::1%eth0": "fe80::1", "2001:db8::1": "2001:db8::1"} {
		wantForwarded(t, upgradeHead(), &Forward{Client: netip.MustParseAddr(addr)},
			backendHead(nil, "X-Forwarded-For: "+want, "X-Forwarded-Host: example.com"))
	}
}

func TestOnlyOffersOfPermessageDeflatePassWithTheirParametersAsSent(t *testing.T) {
	for _, test := range []struct{ offers, want []string }{
		{[]string{"permessage-deflate; client_max_window_bits"}, []string{"permessage-deflate; client_max_window_bits"}},
		{[]string{"permessage-deflate,  permessage-deflate;a"}, []string{"permessage-deflate,  permessage-deflate;a"}},
		{[]string{"x-a", "x-b; permessage-deflate"}, nil},
		{[]string{"Permessage-Deflate"}, nil},
		{[]string{"x-a, permessage-deflate ;  server_max_window_bits=\"1\\0\" , x-b;c=\"d\"", "permessage-deflate"},
			[]string{"permessage-deflate ;  server_max_window_bits=\"1\\0\", permessage-deflate"}},
	} {
		var lines []string
		for _, offer := range test.offers {
			lines = append(lines, "Sec-WebSocket-Extensions: "+offer)
		}
		got := forwarded(t, upgradeHead(lines...), &Forward{})
		var passed []string
		for line := range strings.SplitSeq(got, "\r\n") {
			if offer, ok := strings.CutPrefix(line, "Sec-WebSocket-Extensions: "); ok {
				passed = append(passed, offer)
			}
		}
		if strings.Join(passed, "|") != strings.Join(test.want, "|") {
			t.Errorf("offers %q pass as %q; want %q", test.offers, passed, test.want)
		}
	}
}

func TestAnAbsoluteTargetGoesOnInOriginForm(t *testing.T) {
	for target, want := range map[string]string{"http://example.com/a?b": "/a?b", "ws://EXAMPLE.com": "/", "https://example.com?b": "/?b"} {
		got := forwarded(t, strings.Replace(upgradeHead(), "/chat", target, 1), &Forward{})
		if !strings.HasPrefix(got, "GET "+want+" HTTP/1.1\r\nHost: example.com\r\n") {
			t.Errorf("target %q goes on as %q; want %q", target, got, want)
		}
	}
}

func TestAPrefixOfThePathIsReplaced(t *testing.T) {
	for _, test := range []struct{ target, strip, prefix, want string }{
		{"/chat/room?x", "/chat", "", "/room?x"},
		{"/chat?x=/chat", "/chat", "", "/?x=/chat"},
		{"/chat/", "/chat", "", "/"},
		{"/chat", "/chat", "/base", "/base"},
		{"/chat/", "/chat", "/base", "/base/"},
		{"/chat/room", "/chat/", "", "/room"},
		{"/chat/room", "", "/base", "/base/chat/room"},
		{"/ch%61t/r%6fom", "/chat", "", "/r%6fom"},
		{"//chat//evil.example/x", "/chat", "", "/evil.example/x"},
		{"/a%2fb/c", "/a%2fb", "/d", "/d/c"},
		{"/a%5Cb/c", "/a%5Cb", "", "/c"},
		{"ws://example.com/chat/a", "/chat", "/b", "/b/a"},
	} {
		r := mustCheck(t, strings.Replace(upgradeHead(), "/chat", test.target, 1))
		if !strings.HasPrefix(string(r.Path()), test.strip) {
			t.Fatalf("path %q has no prefix %q", r.Path(), test.strip)
		}
		line, _, _ := strings.Cut(joined(r.AppendForward(nil, &Forward{StripPrefix: len(test.strip), PathPrefix: test.prefix})), "\r\n")
		if want := "GET " + test.want + " HTTP/1.1"; line != want {
			t.Errorf("target %q without %q after %q becomes %q; want %q", test.target, test.strip, test.prefix, line, want)
		}
	}
}

func TestFieldsOfTheRouteReplaceTheClients(t *testing.T) {
	f := &Forward{Client: peer, Proto: "http", RequestID: "id", Host: "inner.example",
		SetHeaders:    []Field{{"X-User", "a"}, {"X-Forwarded-Proto", "wss"}},
		RemoveHeaders: []string{"cookie", "X-Forwarded-For", "x-forwarded-host"}}
	got := forwarded(t, upgradeHead("X-User: root", "X_User: root", "COOKIE: a", "X-Kept: 1"), f)
	want := head("GET /chat HTTP/1.1", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: "+sampleKey, "X-Kept: 1",
		"Upgrade: websocket", "Connection: Upgrade", "Host: inner.example", "X-Sluice-Hops: 1", "X-Request-Id: id", "X-User: a", "X-Forwarded-Proto: wss")
	if got != want {
		t.Errorf("to the backend:\n got %q\nwant %q", got, want)
	}
}

func TestAFieldOfTheRouteIsCheckedBeforehand(t *testing.T) {
	for _, test := range []struct {
		field Field
		isBad bool
	}{
		{Field{"X-User", "a\tb \xf6"}, false},
		{Field{"X-Forwarded-Proto", "https"}, false},
		{Field{"Authorization", "Bearer x"}, false},
		{Field{"", "a"}, true},
		{Field{"X User", "a"}, true},
		{Field{"X-User", "a\r\nX-Admin: 1"}, true},
		{Field{"Host", "a"}, true},
		{Field{"connection", "close"}, true},
		{Field{"Sec-WebSocket-Key", "a"}, true},
		{Field{"Content-Length", "0"}, true},
		{Field{"TE", "trailers"}, true},
	} {
		if err := test.field.Check(); (err != nil) != test.isBad {
			t.Errorf("%q.Check() = %v; want an error: %v", test.field, err, test.isBad)
		}
	}
}

func TestNoAddedValueEndsItsLine(t *testing.T) {
	wantForwarded(t, upgradeHead(), &Forward{ClientCert: "CN=a\r\nX-Admin: 1\x00"},
		backendHead(nil, "X-Forwarded-Host: example.com", "X-Client-Cert-Subject: CN=a??X-Admin: 1?"))
}

func TestARetryGetsTheSameHead(t *testing.T) {
	r := mustCheck(t, chromium)
	f := &Forward{Client: peer, Proto: "http", StripPrefix: len("/room"), PathPrefix: "/a"}
	first := joined(r.AppendForward(nil, f))
	if again := joined(r.AppendForward(nil, f)); again != first {
		t.Errorf("the second backend gets %q; the first got %q", again, first)
	}
}

func TestParsingAndForwardingAllocatesNothing(t *testing.T) {
	wires := [][]byte{
		[]byte(chromium),
		[]byte(strings.NewReplacer("/chat", "ws://Example.com/ch%61t//x?y", "Host: example", "Host: Example").
			Replace(upgradeHead("Sec-WebSocket-Extensions: x, permessage-deflate", "X-Forwarded-For: 1.1.1.1", "Connection: X-A", "X-A: b"))),
	}
	var r Request
	var out [][]byte
	f := &Forward{Client: peer, RealIP: peer, Proto: "https", RequestID: "id", StripPrefix: 1, SetHeaders: []Field{{"X-A", "b"}}}
	for _, wire := range wires {
		allocs := testing.AllocsPerRun(100, func() {
			r.Reset()
			if _, err := r.Parse(wire); err != nil {
				t.Fatal(err)
			}
			if err := r.CheckUpgrade(); err != nil {
				t.Fatal(err)
			}
			if len(r.Path()) == 0 || len(r.Hostname()) == 0 || r.Cookie("none") != nil {
				t.Fatal("the head lost a part")
			}
			out = r.AppendForward(out[:0], f)
		})
		if allocs != 0 {
			t.Errorf("%q allocates %v times; want 0", wire, allocs)
		}
	}
}

func TestAdjacentLinesAreOneSlice(t *testing.T) {
	// The first line, Host, Pragma to User-Agent, Origin to the end, the lines of the gateway.
	if out := mustCheck(t, chromium).AppendForward(nil, &Forward{}); len(out) != 5 {
		t.Errorf("the backend's head has %d slices: %q; want 5", len(out), out)
	}
}
