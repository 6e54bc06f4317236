package reach

import "testing"

func TestLocationsComeBackAsTheClientKnowsThem(t *testing.T) {
	own := []string{"10.0.0.1:8080", "chat.internal"}
	stripped := &returnWay{from: "", to: "/app", own: own, clientHost: "gateway.test"}
	replaced := &returnWay{from: "/v1", to: "/api", own: own, clientHost: "gateway.test"}
	added := &returnWay{from: "/v1", to: "", own: own, clientHost: "gateway.test:8443"}
	for _, test := range []struct {
		way      *returnWay
		in, want string // want "": as it was
	}{
		{stripped, "/login", "/app/login"},
		{stripped, "/", "/app/"},
		{stripped, "/a?next=/b#c", "/app/a?next=/b#c"},
		{stripped, "http://10.0.0.1:8080/login", "/app/login"},
		{stripped, "HTTP://Chat.Internal:80/login?x", "/app/login?x"},
		{stripped, "http://10.0.0.1:8080", "/app/"},
		{stripped, "http://10.0.0.1:8080?x", "/app/?x"},
		{stripped, "//chat.internal/a", "/app/a"},
		{stripped, "https://gateway.test/a", "https://gateway.test/app/a"}, // the scheme may be what it is about
		{stripped, "http://gateway.test:80/a", "http://gateway.test:80/app/a"},
		{stripped, "http://gateway.test:8080/a", ""},
		{stripped, "https://other.test/a", ""},
		{stripped, "http://10.0.0.1:8080@other.test/a", ""},
		{stripped, "http://10.0.0.1/a", ""},
		{stripped, "//other.test/a", ""},
		{stripped, "a/b", ""},
		{stripped, "?x", ""},
		{stripped, "", ""},
		{stripped, "mailto:a@b", ""},
		{replaced, "/v1/users/7", "/api/users/7"},
		{replaced, "/v1", "/api"},
		{replaced, "/v1?x", "/api?x"},
		{replaced, "/v10/x", ""},
		{replaced, "/other", ""},
		{replaced, "http://10.0.0.1:8080/other", ""},
		{added, "/v1/x", "/x"},
		{added, "/v1", "/"},
		{added, "/v1//evil.example", "/evil.example"},
		{added, "/v1/\\evil.example", "/evil.example"},
		{added, "/v1/\t/evil.example", "/evil.example"},
		{added, "https://gateway.test:8443/v1/x", "https://gateway.test:8443/x"},
	} {
		want := test.want
		if want == "" {
			want = test.in
		}
		if got := test.way.rewrite("location", test.in); got != want {
			t.Errorf("from %q to %q: %q becomes %q; want %q", test.way.from, test.way.to, test.in, got, want)
		}
	}
}

func TestPathsOfCookiesComeBackAsTheClientKnowsThem(t *testing.T) {
	stripped, replaced, added := &returnWay{to: "/app"}, &returnWay{from: "/v1", to: "/api"}, &returnWay{from: "/v1"}
	for _, test := range []struct {
		way      *returnWay
		in, want string
	}{
		{stripped, "a=b; Path=/", "a=b; Path=/app"},
		{stripped, "a=b; path=/x; HttpOnly", "a=b; path=/app/x; HttpOnly"},
		{stripped, "a=b;PATH = /x ;Secure", "a=b;PATH =/app/x;Secure"},
		{stripped, "a=b", ""},
		{stripped, "Path=/; Secure", ""}, // the cookie's own name
		{stripped, "a=b; Path", ""},
		{stripped, "a=b; Path=x", ""},
		{stripped, "__Host-a=b; Path=/; Secure", ""},
		{stripped, "__host-a=b; Path=/", ""},
		{replaced, "a=b; Path=/v1/x", "a=b; Path=/api/x"},
		{replaced, "a=b; Path=/v1", "a=b; Path=/api"},
		{replaced, "a=b; Path=/", ""},
		{added, "a=b; Path=/v1", "a=b; Path=/"},
		{added, "a=b; Path=/v1/x", "a=b; Path=/x"},
	} {
		want := test.want
		if want == "" {
			want = test.in
		}
		if got := test.way.rewrite("Set-Cookie", test.in); got != want {
			t.Errorf("from %q to %q: %q becomes %q; want %q", test.way.from, test.way.to, test.in, got, want)
		}
	}
	if got := stripped.rewrite("Link", "/x"); got != "/x" {
		t.Errorf("another field becomes %q", got)
	}
}
