package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// No text that the issuer has not signed is a token.
func FuzzTokens(f *testing.F) {
	a, key := es256(f, nil)
	good := signed(f, jose.ES256, key, "", saying())
	for _, seed := range []string{good, good + "A", "", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", strings.Repeat(".", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, isKnown := a.TryDecide(&Credentials{text: text}, time.Now())
		if !isKnown || (d.Refusal == nil) != (d.Result == Accepted) {
			t.Errorf("TryDecide(%q) = %+v, %t", text, d, isKnown)
		}
		said := good[:strings.LastIndexByte(good, '.')]
		if d.Result == Accepted && !strings.HasPrefix(text, said) { // base64 has several texts for a signature
			t.Errorf("%q is accepted", text)
		}
	})
}

func FuzzUsers(f *testing.F) {
	for _, seed := range []string{"alice:" + hashOf(f, "x", 4), "alice", ":", "#\n\n:", "a:b:c", "a:$2a$31$" + strings.Repeat("x", 53)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		u, problems := parseUsers(content)
		if len(u.all) != len(u.hashes) || len(problems) == 0 && len(u.all) == 0 {
			t.Errorf("%q: %d hashes of %d users, problems %v", content, len(u.all), len(u.hashes), problems)
		}
	})
}

func FuzzKeySets(f *testing.F) {
	for _, seed := range []string{jwks(map[string]any{"1": signers()[jose.ES256], "2": signers()[jose.RS256]}), "{}", `{"keys":[{"kty":"EC"}]}`, "null", "[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		set, err := parseJWKS(content)
		if err == nil && len(set) == 0 {
			t.Errorf("%q: no keys and no error", content)
		}
		for a := range algorithms {
			set.find(a, "1")
		}
		_, _ = parsePEM(content)
	})
}
