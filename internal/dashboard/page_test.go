package dashboard

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(needsToken bool) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	Handler(needsToken)(answer, httptest.NewRequest("GET", "/", nil))
	return answer
}

func TestPageCarriesAllThatItNeeds(t *testing.T) {
	body := get(false).Body.String()
	if outside := regexp.MustCompile(`(src|href)="(?:https?:)?//[^"]*"|@import|url\(`).FindString(body); outside != "" {
		t.Errorf("the page loads from outside: %s", outside)
	}
	for _, name := range append(append(styles, charts...), scripts...) {
		text, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(body, string(text)) != 1 {
			t.Errorf("%s isn't in the page once", name)
		}
	}
	entries, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := entry.Name(); strings.HasSuffix(name, ".js") && !strings.Contains(strings.Join(scripts, " "), name) {
			t.Errorf("%s isn't in the page", name)
		}
	}
}

func TestScriptsFindTheElementsThatTheyName(t *testing.T) {
	page, err := files.ReadFile("page.html")
	if err != nil {
		t.Fatal(err)
	}
	script := join(scripts)
	for _, match := range regexp.MustCompile(`element\("([^"]+)"\)`).FindAllStringSubmatch(script, -1) {
		if strings.Count(string(page), `id="`+match[1]+`"`) != 1 {
			t.Errorf("the page has not exactly one element %q", match[1])
		}
	}
}

func TestPolicyAllowsThePagesOwnPartsOnly(t *testing.T) {
	first, second := get(true), get(true)
	nonces := regexp.MustCompile(`nonce="([^"]+)"`).FindAllStringSubmatch(first.Body.String(), -1)
	if len(nonces) != 3 || nonces[0][1] != nonces[1][1] || nonces[0][1] != nonces[2][1] {
		t.Fatalf("nonces of the page: %q", nonces)
	}
	policy := first.Header().Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "connect-src 'self'", "script-src 'nonce-" + nonces[0][1] + "'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("policy %q lacks %s", policy, part)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(second.Body.String(), nonces[0][1]) {
		t.Errorf("policy %q; another page has the same nonce: %t", policy, strings.Contains(second.Body.String(), nonces[0][1]))
	}
}
