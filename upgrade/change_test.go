package upgrade

import (
	"bytes"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
)

func TestAPathOfTheRouteReplacesTheWholePathAndTheQueryStays(t *testing.T) {
	for target, want := range map[string]string{
		"/chat/room?x=/chat": "/new%20one?x=/chat", "/chat": "/new%20one", "/chat?": "/new%20one?", "ws://example.com?x": "/new%20one?x",
	} {
		r := mustCheck(t, strings.Replace(upgradeHead(), "/chat", target, 1))
		line, _, _ := strings.Cut(joined(r.AppendForward(nil, &Forward{Path: "/new%20one"})), "\r\n")
		if want := "GET " + want + " HTTP/1.1"; line != want {
			t.Errorf("target %q becomes %q; want %q", target, line, want)
		}
	}
}

// As HTTPRoute's ReplacePrefixMatch of the Kubernetes Gateway API says.
func TestAPrefixOfThePathIsReplacedBySegments(t *testing.T) {
	for _, test := range []struct{ path, match, replacement, want string }{
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo", "/foo", "/xyz/", "/xyz/"},
		{"/foo/bar", "/foo", "/", "/bar"},
		{"/foo/", "/foo", "/", "/"},
		{"/foo", "/foo", "/", "/"},
		{"/foo//bar", "/foo", "/", "/bar"},
		{"/bar", "", "/xyz", "/xyz/bar"},
		{"/", "", "/xyz", "/xyz/"},
	} {
		r := mustCheck(t, strings.Replace(upgradeHead(), "/chat", test.path, 1))
		if got := string(r.AppendPath(nil, &Forward{StripPrefix: len(test.match), PathPrefix: test.replacement})); got != test.want {
			t.Errorf("%q with %q for %q becomes %q; want %q", test.path, test.replacement, test.match, got, test.want)
		}
	}
}

// The part as sent, decoded, is the part that was found.
func TestAPartOfThePathIsFoundAsItWasSent(t *testing.T) {
	pieces := []string{"/", "//", "a", "%61", "%2f", "%2F", "%5c", "%25", "b;c", "\xc3\xb6", "%C3%B6", "%3B"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		path := "/"
		for range random.IntN(12) {
			path += pieces[random.IntN(len(pieces))]
		}
		r, _, err := parse(t, head("GET "+path+" HTTP/1.1", "Host: a"))
		if err != nil {
			continue
		}
		decoded := r.Path()
		start := random.IntN(len(decoded) + 1)
		end := start + random.IntN(len(decoded)-start+1)
		if isWithin(decoded, start) || isWithin(decoded, end) {
			continue
		}
		part := r.RawPart(start, end)
		if got := appendPath(nil, part); string(got) != string(decoded[start:end]) {
			t.Fatalf("of %q, as %q, the octets %d to %d were sent as %q, which is %q; want %q", path, decoded, start, end, part, got, decoded[start:end])
		}
	}
}

// isWithin reports whether an offset is within what stays encoded.
func isWithin(decoded []byte, offset int) bool {
	for back := 1; back <= 2; back++ {
		if at := offset - back; at >= 0 && offset < len(decoded) && decoded[at] == '%' && (bytes.HasPrefix(bytes.ToLower(decoded[at:]), []byte("%2f")) || bytes.HasPrefix(bytes.ToLower(decoded[at:]), []byte("%5c"))) {
			return true
		}
	}
	return false
}

func TestAPathIsCheckedAsThatOfARequest(t *testing.T) {
	for _, good := range []string{"/", "/a//b", "/a%20b", "/\xc3\xb6", "/a%2fb"} {
		if err := CheckPath(good); err != nil {
			t.Errorf("CheckPath(%q) = %v", good, err)
		}
	}
	for _, bad := range []string{"", "a", "//a", "/a/../b", "/%2e%2e", "/a%2f..", "/%", "/%4", "/a b", "/a\r\nX: y", "/a?b", "/a#b", "/\\a", "/a%00"} {
		if CheckPath(bad) == nil {
			t.Errorf("CheckPath(%q) finds nothing", bad)
		}
	}
}

func TestAHostIsCheckedAsThatOfARequest(t *testing.T) {
	for host, isGood := range map[string]bool{
		"a": true, "a.test:8080": true, "[::1]:80": true, "10.0.0.1": true, "a_b": true,
		"": false, "a b": false, "a\r\nX: y": false, "http://a": false, "a/b": false, "::1": false, "a:b": false, "*.a": false, "\xc3\xb6": false,
	} {
		if err := CheckHost(host); (err == nil) != isGood {
			t.Errorf("CheckHost(%q) = %v", host, err)
		}
	}
}

func TestAnAnswerIsChangedForTheClient(t *testing.T) {
	change := &AnswerChange{
		SetHeaders:    []Field{{"X-Set", "ours"}, {"Set-Cookie", "set=1"}},
		RemoveHeaders: []string{"server"},
		AddHeaders:    []Field{{"Set-Cookie", "added=1"}},
		Rewrite: func(name, value string) string {
			if name == "Location" {
				return "/there\r\nX-Evil: 1"
			}
			return value
		},
	}
	fields := []string{"Server: x", "SERVER: y", "x_set: theirs", "X-Kept: 1", "Set-Cookie: theirs=1", "Location: /here", "X-Kept: 2"}
	ours := []string{"X-Set: ours", "Set-Cookie: set=1", "Set-Cookie: added=1"}

	a := mustAnswer(t, switchingHead(fields...), mustCheck(t, upgradeHead()))
	want := head(append([]string{"HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: " + sampleAccept,
		"X-Kept: 1", "Location: /here", "X-Kept: 2", "Upgrade: websocket", "Connection: Upgrade"}, ours...)...)
	if got := joined(a.AppendForward(nil, change)); got != want {
		t.Errorf("a 101 to the client:\n got %q\nwant %q", got, want)
	}

	a = mustAnswer(t, head(append([]string{"HTTP/1.1 302 Found", "Content-Length: 0"}, fields...)...), mustCheck(t, upgradeHead()))
	want = head(append([]string{"HTTP/1.1 302 Found", "Content-Length: 0", "X-Kept: 1", "X-Kept: 2",
		"Location: /there??X-Evil: 1", "Connection: close"}, ours...)...)
	for range 2 {
		if got := joined(a.AppendForward(nil, change)); got != want {
			t.Errorf("a 302 to the client:\n got %q\nwant %q", got, want)
		}
	}
}

func TestAnAnswerOfARouteGoesAsItStands(t *testing.T) {
	typed := []Field{{"Content-Type", "application/json"}}
	for _, test := range []struct {
		rej  Rejection
		want string
	}{
		{Rejection{Status: 200, Text: "{}", Header: typed, Form: Whole},
			"HTTP/1.1 200 OK|Content-Length: 2|Connection: close|Content-Type: application/json||{}"},
		{Rejection{Status: 200, Text: "{}", Header: typed, Form: LengthOnly},
			"HTTP/1.1 200 OK|Content-Length: 2|Connection: close|Content-Type: application/json||"},
		{Rejection{Status: 204, Form: Whole}, "HTTP/1.1 204 No Content|Connection: close||"},
		{Rejection{Status: 205, Form: Whole}, "HTTP/1.1 205 |Content-Length: 0|Connection: close||"},
		{Rejection{Status: 304, Form: Whole}, "HTTP/1.1 304 Not Modified|Connection: close||"},
		{Rejection{Status: 308, Header: []Field{{"Location", "/x\r\ny"}}, Form: Whole},
			"HTTP/1.1 308 Permanent Redirect|Content-Length: 0|Connection: close|Location: /x??y||"},
	} {
		if got, want := string(AppendRejection(nil, &test.rej)), strings.ReplaceAll(test.want, "|", "\r\n"); got != want {
			t.Errorf("%+v:\n got %q\nwant %q", test.rej, got, want)
		}
	}
}

func TestAURLHasNothingThatItMayOnlyHaveEncoded(t *testing.T) {
	for text, want := range map[string]string{
		"/a%20b?x=%2f&y=1": "/a%20b?x=%2f&y=1", "/a b\r\n\"<>^`{|}\\": "/a%20b%0D%0A%22%3C%3E%5E%60%7B%7C%7D%5C",
		"%": "%25", "%4": "%254", "%zz": "%25zz", "\xc3\xb6#": "%C3%B6%23", "[": "%5B",
	} {
		got := string(AppendURL(nil, text))
		if got != want {
			t.Errorf("AppendURL(%q) = %q; want %q", text, got, want)
		}
		if _, err := url.Parse(got); err != nil && !strings.HasPrefix(text, "%2") {
			t.Errorf("AppendURL(%q): %v", text, err)
		}
	}
	if got := string(AppendURLComponent(nil, []byte("a/b?c=d&e:%41\r\n~"))); got != "a%2Fb%3Fc%3Dd%26e%3A%2541%0D%0A~" {
		t.Errorf("AppendURLComponent: %q", got)
	}
}
