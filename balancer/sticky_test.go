package balancer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/units"
)

// valueOf returns the value in a Set-Cookie line of the cookie sluice.
func valueOf(t *testing.T, line string) string {
	t.Helper()
	pair, _, _ := strings.Cut(line, ";")
	value, ok := strings.CutPrefix(pair, "sluice=")
	if !ok {
		t.Fatalf("Set-Cookie %q is not of the cookie sluice", line)
	}
	return value
}

// firstCookie picks without a cookie and returns the one that was set.
func firstCookie(t *testing.T, p *Pool) (*Backend, string) {
	t.Helper()
	got, err := p.Pick(t.Context(), &Request{Head: textHead("")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.Backend, valueOf(t, got.SetCookie)
}

func TestStickyCookieLeadsBack(t *testing.T) {
	p := newPool(t, configOf(PolicySticky, 5))
	b, cookie := firstCookie(t, p)
	for range 50 {
		got, err := p.Pick(t.Context(), &Request{Head: textHead(cookie)}, nil)
		if err != nil || got.Backend != b {
			t.Fatalf("Pick with the cookie of %s = %v, %v", b.Name(), got.Backend.Name(), err)
		}
		if got.SetCookie != "" {
			t.Fatalf("cookie set again without need: %q", got.SetCookie)
		}
	}
	if strings.Contains(cookie, "10.0") {
		t.Errorf("cookie %q shows the address", cookie)
	}
}

func TestStickyCookieIsTheSameInEveryProcessOfOneSecret(t *testing.T) {
	c := configOf(PolicySticky, 5)
	b, cookie := firstCookie(t, newPool(t, c))
	q := newPool(t, c)
	for range 20 {
		if got := pick(t, q, &Request{Head: textHead(cookie)}); got.Name() != b.Name() {
			t.Fatalf("the other process took the cookie of %s to %s", b.Name(), got.Name())
		}
	}
}

func TestTamperedCookieFallsBack(t *testing.T) {
	c := configOf(PolicySticky, 2)
	p := newPool(t, c)
	_, cookie := firstCookie(t, p)
	other := c
	other.Sticky.Secret = "another secret of enough bytes"
	_, foreign := firstCookie(t, newPool(t, other))
	other = c
	other.Name = "another"
	_, ofPool := firstCookie(t, newPool(t, other))
	last := "A"
	if strings.HasSuffix(cookie, "A") {
		last = "B"
	}
	for _, value := range []string{
		cookie[:len(cookie)-1] + last, cookie[:len(cookie)-1], cookie + "A", strings.Repeat("x", 8000),
		addressOf(1), foreign, ofPool,
	} {
		counts := make(map[*Backend]int)
		for range 100 {
			got, err := p.Pick(t.Context(), &Request{Head: textHead(value)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if valueOf(t, got.SetCookie) == value {
				t.Fatalf("cookie %.40q was accepted", value)
			}
			counts[got.Backend]++
		}
		if counts[p.backends[0]] < 49 || counts[p.backends[1]] < 49 {
			t.Errorf("cookie %.40q led to %d and %d picks; want the least loaded each time", value,
				counts[p.backends[0]], counts[p.backends[1]])
		}
	}
}

func TestStickyFallsBackWhenItsBackendIsGone(t *testing.T) {
	p := newPool(t, configOf(PolicySticky, 3))
	b, cookie := firstCookie(t, p)
	if err := p.Drain(b.Name(), 0); err != nil {
		t.Fatal(err)
	}
	got, err := p.Pick(t.Context(), &Request{Head: textHead(cookie)}, nil)
	if err != nil || got.Backend == b {
		t.Fatalf("Pick with the cookie of a draining backend = %v, %v", got.Backend, err)
	}
	next := valueOf(t, got.SetCookie)
	if again := pick(t, p, &Request{Head: textHead(next)}); again != got.Backend {
		t.Errorf("the new cookie leads to %s; want %s", again.Name(), got.Backend.Name())
	}
}

func TestStickyCookieAttributes(t *testing.T) {
	c := configOf(PolicySticky, 1)
	c.Sticky.TTL = units.Duration(time.Hour)
	c.Sticky.Domain, c.Sticky.Path, c.Sticky.Secure, c.Sticky.SameSite = "example.com", "/chat", true, "none"
	p := newPool(t, c)
	got, err := p.Pick(t.Context(), &Request{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, attributes, _ := strings.Cut(got.SetCookie, "; ")
	if want := "Max-Age=3600; Path=/chat; Domain=example.com; Secure; HttpOnly; SameSite=None"; attributes != want {
		t.Errorf("attributes = %q; want %q", attributes, want)
	}
	// A cookie with an age is renewed by each handshake.
	again, err := p.Pick(t.Context(), &Request{Head: textHead(valueOf(t, got.SetCookie))}, nil)
	if err != nil || again.SetCookie != got.SetCookie {
		t.Errorf("Pick with a cookie of an hour set %q, %v; want it renewed", again.SetCookie, err)
	}
}

func TestStickySecretIsReadFromAFile(t *testing.T) {
	c := configOf(PolicySticky, 2)
	_, cookie := firstCookie(t, newPool(t, c))
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(c.Sticky.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Sticky.Secret, c.Sticky.SecretFile = "", file
	if _, fromFile := firstCookie(t, newPool(t, c)); fromFile != cookie {
		t.Errorf("the secret of a file makes cookie %q; the same in the configuration %q", fromFile, cookie)
	}
}
