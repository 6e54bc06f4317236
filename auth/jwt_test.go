package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sluice/internal/units"
)

// signers are the keys of an issuer, by the algorithms that they sign with.
var signers = sync.OnceValue(func() map[jose.SignatureAlgorithm]any {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	secret := []byte(strings.Repeat("0123456789abcdef", 4))
	return map[jose.SignatureAlgorithm]any{
		jose.RS256: rsaKey, jose.RS384: rsaKey, jose.RS512: rsaKey, jose.PS256: rsaKey, jose.PS384: rsaKey, jose.PS512: rsaKey,
		jose.ES256: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), jose.ES384: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		jose.ES512: must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), jose.EdDSA: must(crypto.PrivateKey(edKey), err),
		jose.HS256: secret, jose.HS384: secret, jose.HS512: secret,
	}
})

func must[T any](value T, err error) T {
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return value
}

// signed returns a token with these claims.
func signed(t testing.TB, a jose.SignatureAlgorithm, key any, id string, said map[string]any) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if id != "" {
		options = options.WithHeader("kid", id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: a, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	object, err := signer.Sign(must(json.Marshal(said)))
	if err != nil {
		t.Fatal(err)
	}
	return must(object.CompactSerialize())
}

// publicPEM returns the public part of a key.
func publicPEM(key any) []byte {
	der := must(x509.MarshalPKIXPublicKey(key.(crypto.Signer).Public()))
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// jwks returns a key set with the public parts of keys by their ids.
func jwks(keys map[string]any) string {
	var set jose.JSONWebKeySet
	for _, id := range slices.Sorted(maps.Keys(keys)) {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: keys[id].(crypto.Signer).Public(), KeyID: id, Use: "sig"})
	}
	return string(must(json.Marshal(set)))
}

// newJWT returns a section with the usual values.
func newJWT(algorithms ...jose.SignatureAlgorithm) *Config {
	c := &Config{Name: "app", Kind: KindJWT, Leeway: units.Duration(30 * time.Second), Token: []string{"header"}, Subject: "sub", OnExpiry: OnExpiryClose}
	for _, a := range algorithms {
		c.Algorithms = append(c.Algorithms, string(a))
	}
	return c
}

// saying returns the claims of alice, valid for an hour, with others in pairs of name and value; nil removes one.
func saying(pairs ...any) map[string]any {
	said := map[string]any{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	for i := 0; i < len(pairs); i += 2 {
		if said[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
			delete(said, pairs[i].(string))
		}
	}
	return said
}

func bearerLine(token string) string { return "Authorization: Bearer " + token }

// es256 returns an Authenticator for tokens of ES256, after a change of its section, and the key that signs them.
func es256(t testing.TB, change func(*Config)) (*Authenticator, any) {
	key := signers()[jose.ES256]
	c := newJWT(jose.ES256)
	c.KeyFile = write(t, "key.pem", string(publicPEM(key)))
	if change != nil {
		change(c)
	}
	return mustNew(t, c), key
}

func TestEachAlgorithmVerifiesWithItsTypeOfKeyOnly(t *testing.T) {
	for a, key := range signers() {
		c := newJWT(a)
		if isHMAC(a) {
			c.SecretFile = write(t, "secret", string(key.([]byte))+"\n")
		} else {
			c.KeyFile = write(t, "key.pem", string(publicPEM(key)))
		}
		auth := mustNew(t, c)
		for other, otherKey := range signers() {
			d := decide(t, auth, requestWith(t, "/", bearerLine(signed(t, other, otherKey, "", saying()))))
			if want := map[bool]string{true: Accepted, false: Invalid}[a == other]; d.Result != want {
				t.Errorf("%s with a token of %s: result %q, cause %q; want %q", a, other, d.Result, d.Cause, want)
			}
		}
	}
}

// The oldest attacks: no signature, and one of HMAC whose secret is the public key that everyone has.
func TestForgedTokensAreRefused(t *testing.T) {
	key := signers()[jose.RS256]
	c := newJWT(jose.RS256, jose.ES256)
	c.KeyFile = write(t, "key.pem", string(publicPEM(key))+string(publicPEM(signers()[jose.ES256])))
	a := mustNew(t, c)
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	payload := encode(fmt.Sprintf(`{"sub":"alice","exp":%d}`, time.Now().Add(time.Hour).Unix()))
	withHMAC := func(header string, secret []byte) string {
		text := encode(header) + "." + payload
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	der := must(x509.MarshalPKIXPublicKey(key.(crypto.Signer).Public()))
	good := signed(t, jose.RS256, key, "", saying())
	parts := strings.Split(good, ".")
	stranger := must(rsa.GenerateKey(rand.Reader, 2048))
	embedded, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: stranger}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	own := must(embedded.Sign(must(json.Marshal(saying()))))
	for name, token := range map[string]string{
		"none":                        encode(`{"alg":"none"}`) + "." + payload + ".",
		"None":                        encode(`{"alg":"None"}`) + "." + payload + ".",
		"none with a signature":       encode(`{"alg":"none"}`) + "." + payload + "." + parts[2],
		"no algorithm":                encode(`{}`) + "." + payload + "." + parts[2],
		"HMAC with the PEM":           withHMAC(`{"alg":"HS256"}`, publicPEM(key)),
		"HMAC with the DER":           withHMAC(`{"alg":"HS256"}`, der),
		"HMAC that says RS256":        withHMAC(`{"alg":"RS256"}`, publicPEM(key)),
		"another payload":             parts[0] + "." + payload + "." + parts[2],
		"no signature":                parts[0] + "." + parts[1] + ".",
		"two parts":                   parts[0] + "." + parts[1],
		"the signature cut":           good[:len(good)-8],
		"a key of its own":            must(own.CompactSerialize()),
		"a stranger's":                signed(t, jose.RS256, stranger, "", saying()),
		"an extension that is a must": encode(`{"alg":"RS256","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2],
		"JSON":                        `{"payload":"` + payload + `"}`,
		"nothing of it":               "x",
		"8 KB of nothing":             strings.Repeat("x", 8<<10),
		"8 KB of dots":                strings.Repeat(".", 8<<10),
	} {
		d := decide(t, a, requestWith(t, "/", bearerLine(token)))
		if d.Result != Invalid || d.Subject != "" || d.Refusal == nil {
			t.Errorf("%s: result %q, subject %q; want %q", name, d.Result, d.Subject, Invalid)
		}
	}
	if d := decide(t, a, requestWith(t, "/", bearerLine(good))); d.Result != Accepted {
		t.Errorf("the good token: %q, %s", d.Result, d.Cause)
	}
}

func TestClaimsDecide(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	a, key := es256(t, func(c *Config) {
		c.Issuer, c.Audience = []string{"https://issuer.test", "https://old.test"}, []string{"chat", "calls"}
		c.Require = map[string]string{"role": "staff", "level": "3"}
	})
	usual := []any{"iss", "https://issuer.test", "aud", "chat", "role", "staff", "level", 3}
	for name, test := range map[string]struct {
		change []any
		want   string
	}{
		"usual":                    {nil, Accepted},
		"another good issuer":      {[]any{"iss", "https://old.test"}, Accepted},
		"audiences":                {[]any{"aud", []string{"mail", "calls"}}, Accepted},
		"a list of roles":          {[]any{"role", []string{"user", "staff"}}, Accepted},
		"a level as text":          {[]any{"level", "3"}, Accepted},
		"no end":                   {[]any{"exp", nil}, Accepted},
		"expired within leeway":    {[]any{"exp", at(-10 * time.Second)}, Accepted},
		"not yet, within leeway":   {[]any{"nbf", at(10 * time.Second)}, Accepted},
		"expired":                  {[]any{"exp", at(-40 * time.Second)}, Expired},
		"expired in 1970":          {[]any{"exp", 0}, Expired},
		"not yet":                  {[]any{"nbf", at(time.Minute)}, Invalid},
		"an end that is text":      {[]any{"exp", "soon"}, Invalid},
		"an end that is negative":  {[]any{"exp", -1}, Invalid},
		"an end beyond all":        {[]any{"exp", 1e300}, Invalid},
		"a begin that is an array": {[]any{"nbf", []int{1}}, Invalid},
		"another issuer":           {[]any{"iss", "https://evil.test"}, Invalid},
		"no issuer":                {[]any{"iss", nil}, Invalid},
		"another audience":         {[]any{"aud", "mail"}, Invalid},
		"other audiences":          {[]any{"aud", []string{"mail", "news"}}, Invalid},
		"no audience":              {[]any{"aud", nil}, Invalid},
		"a part of the audience":   {[]any{"aud", "cha"}, Invalid},
		"another role":             {[]any{"role", "user"}, Invalid},
		"no level":                 {[]any{"level", nil}, Invalid},
		"no subject":               {[]any{"sub", nil}, Invalid},
		"an empty subject":         {[]any{"sub", ""}, Invalid},
		"an object as subject":     {[]any{"sub", map[string]string{"a": "b"}}, Invalid},
		"a long subject":           {[]any{"sub", strings.Repeat("x", maxSubject+1)}, Invalid},
	} {
		d := decide(t, a, requestWith(t, "/", bearerLine(signed(t, jose.ES256, key, "", saying(append(slices.Clone(usual), test.change...)...)))))
		if d.Result != test.want {
			t.Errorf("%s: result %q, cause %q; want %q", name, d.Result, d.Cause, test.want)
		}
	}
}

func TestAPayloadThatIsNoObjectIsRefused(t *testing.T) {
	a, key := es256(t, nil)
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil))
	for _, payload := range []string{"", "null", "[]", `"alice"`, "{", `{"sub":"alice"} {}`, "\xff"} {
		token := must(must(signer.Sign([]byte(payload))).CompactSerialize())
		if d := decide(t, a, requestWith(t, "/", bearerLine(token))); d.Result != Invalid {
			t.Errorf("payload %q: result %q; want %q", payload, d.Result, Invalid)
		}
	}
}

func TestASessionEndsWithItsTokenUnlessItIsKept(t *testing.T) {
	ends := time.Now().Add(time.Hour).Truncate(time.Second)
	for onExpiry, want := range map[string]time.Time{OnExpiryClose: ends.Add(30 * time.Second), OnExpiryKeep: {}} {
		a, key := es256(t, func(c *Config) { c.OnExpiry = onExpiry })
		d := decide(t, a, requestWith(t, "/", bearerLine(signed(t, jose.ES256, key, "", saying("exp", ends.Unix())))))
		if !d.Expires.Equal(want) {
			t.Errorf("on_expiry %q: the session ends at %v; want %v", onExpiry, d.Expires, want)
		}
		d = decide(t, a, requestWith(t, "/", bearerLine(signed(t, jose.ES256, key, "", saying("exp", nil)))))
		if d.Result != Accepted || !d.Expires.IsZero() {
			t.Errorf("a token without an end: result %q, end %v", d.Result, d.Expires)
		}
	}
}

func TestClaimsBecomeFieldsForTheBackend(t *testing.T) {
	a, key := es256(t, func(c *Config) {
		c.Headers = map[string]string{"X-User": "sub", "X-Roles": "roles", "X-Level": "level", "X-Object": "object", "X-None": "none", "X-Admin": "admin", "X-Text": "text"}
		c.Subject = "id"
	})
	d := decide(t, a, requestWith(t, "/", bearerLine(signed(t, jose.ES256, key, "", saying("roles", []string{"a", "c,admin", "b"}, "level", 9007199254740993,
		"object", map[string]int{"a": 1}, "admin", true, "text", "a\r\nX-Admin: é", "id", 12345678901234567)))))
	var got []string
	for _, f := range d.Fields {
		got = append(got, f.Name+": "+f.Value)
	}
	want := []string{"X-Admin: true", "X-Level: 9007199254740993", "X-Roles: a,b", "X-Text: a??X-Admin: é", "X-User: alice"}
	if !slices.Equal(got, want) {
		t.Errorf("fields %q; want %q", got, want)
	}
	if len(d.Own) != 7 || d.Subject != "12345678901234567" {
		t.Errorf("own fields %q, subject %q; want all 7, 12345678901234567", d.Own, d.Subject)
	}
}

func TestATokenIsFoundInEachPlaceInOrder(t *testing.T) {
	a, key := es256(t, func(c *Config) {
		c.Token = []string{"protocol:auth.", "query:ticket", "cookie:session", "header:X-Token", "header"}
	})
	long := signed(t, jose.ES256, key, "", saying("sub", "long", "filler", strings.Repeat("x", 6<<10)))
	token := func(name string) string { return signed(t, jose.ES256, key, "", saying("sub", name)) }
	if len(long) < 8<<10 {
		t.Fatalf("a token of %d bytes; want 8 KiB", len(long))
	}
	for name, test := range map[string]struct {
		target  string
		lines   []string
		subject string // "": it is refused
	}{
		"protocol":              {"/", []string{"Sec-WebSocket-Protocol: chat, auth." + long}, "long"},
		"protocol in two lines": {"/", []string{"Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: auth." + token("alice")}, "alice"},
		"query":                 {"/?room=1&ticket=" + long, nil, "long"},
		"cookie":                {"/", []string{"Cookie: a=b; session=" + long}, "long"},
		"field":                 {"/", []string{"x-token: " + long}, "long"},
		"Authorization":         {"/", []string{bearerLine(long)}, "long"},
		"the first one":         {"/?ticket=" + token("query"), []string{"Cookie: session=" + token("cookie"), bearerLine(token("field"))}, "query"},
		"a bad first one":       {"/?ticket=x", []string{bearerLine(token("field"))}, ""},
		"two fields":            {"/", []string{"X-Token: " + token("alice"), "X-Token: " + token("bob")}, ""},
		"two of Authorization":  {"/", []string{bearerLine(token("alice")), bearerLine(token("bob"))}, ""},
		"another scheme":        {"/", []string{"Authorization: Basic YTpi"}, ""},
		"another name":          {"/?Ticket=" + token("alice"), []string{"Cookie: Session=" + token("alice")}, ""},
		"another prefix":        {"/", []string{"Sec-WebSocket-Protocol: Auth." + token("alice")}, ""},
		"only the prefix":       {"/", []string{"Sec-WebSocket-Protocol: auth."}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(t, a, requestWith(t, test.target, test.lines...))
			if d.Subject != test.subject || (test.subject == "") != (d.Refusal != nil) {
				t.Errorf("subject %q, cause %q; want %q", d.Subject, d.Cause, test.subject)
			}
		})
	}
}

func TestTheClientIsToldNothingOfWhatIsWrong(t *testing.T) {
	a, key := es256(t, nil)
	for _, test := range []struct {
		lines []string
		want  string
	}{
		{nil, `Bearer realm="app"`},
		{[]string{bearerLine("x")}, `Bearer realm="app", error="invalid_token"`},
		{[]string{bearerLine(signed(t, jose.ES256, key, "", saying("exp", 1)))}, `Bearer realm="app", error="invalid_token"`},
		{[]string{bearerLine(signed(t, jose.ES256, key, "", saying("sub", nil)))}, `Bearer realm="app", error="invalid_token"`},
	} {
		d := decide(t, a, requestWith(t, "/", test.lines...))
		if got := d.Refusal.Header[0].Value; got != test.want || d.Refusal.Status != 401 {
			t.Errorf("status %d, %q; want 401, %q", d.Refusal.Status, got, test.want)
		}
	}
}

func TestTheSectionOfTokensIsChecked(t *testing.T) {
	ec, small := string(publicPEM(signers()[jose.ES256])), string(publicPEM(must(rsa.GenerateKey(rand.Reader, 1024))))
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(signers()[jose.ES256]))}))
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"nothing":         {func(c *Config) { c.KeyFile, c.Algorithms = "", nil }, "jwks_url: missing\nalgorithms: missing"},
		"two keys":        {func(c *Config) { c.JWKSURL = "https://issuer.test/keys" }, "key_file: beside jwks_url"},
		"none":            {func(c *Config) { c.Algorithms = []string{"none"} }, "algorithms[0]: unknown"},
		"HMAC with a key": {func(c *Config) { c.Algorithms = []string{"ES256", "HS256"} }, "algorithms[1]: needs secret_file: whoever can verify such a token can also make one"},
		"HMAC with a URL": {func(c *Config) { c.KeyFile, c.JWKSURL, c.Algorithms = "", "https://issuer.test", []string{"HS256"} }, "algorithms[0]: needs secret_file: whoever can verify such a token can also make one"},
		"another type":    {func(c *Config) { c.Algorithms = []string{"RS256"} }, "key_file: no key for the algorithm RS256, whose keys have 2048 to 8192 bits"},
		"another curve":   {func(c *Config) { c.Algorithms = []string{"ES384"} }, "key_file: no key for the algorithm ES384"},
		"a small key":     {func(c *Config) { c.Algorithms, c.KeyFile = []string{"RS256"}, write(t, "k", small) }, "key_file: no key for the algorithm RS256, whose keys have 2048 to 8192 bits"},
		"a private key":   {func(c *Config) { c.KeyFile = write(t, "k", ec+private) }, `key_file: a block "PRIVATE KEY", which is no public key`},
		"no PEM":          {func(c *Config) { c.KeyFile = write(t, "k", "x") }, "key_file: no public key in PEM"},
		"a broken PEM": {func(c *Config) {
			c.KeyFile = write(t, "k", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})))
		}, `key_file: a broken block "PUBLIC KEY"`},
		"no file":            {func(c *Config) { c.KeyFile = "/nonexistent" }, "key_file: can't be read: no such file or directory"},
		"no JWKS":            {func(c *Config) { c.KeyFile, c.JWKSFile = "", write(t, "k", "x") }, "jwks_file: not a JSON Web Key Set"},
		"an empty JWKS":      {func(c *Config) { c.KeyFile, c.JWKSFile = "", write(t, "k", `{"keys":[]}`) }, "jwks_file: no public key for signatures"},
		"a secret in a JWKS": {func(c *Config) { c.KeyFile, c.JWKSFile = "", write(t, "k", `{"keys":[{"kty":"oct","k":"AAAA"}]}`) }, "jwks_file: no public key for signatures"},
		"a short secret": {func(c *Config) {
			c.KeyFile, c.SecretFile, c.Algorithms = "", write(t, "k", "0123456789012345678901234567890\n"), []string{"HS256"}
		}, "secret_file: no key for the algorithm HS256, whose secret has at least 256 bits"},
		"a secret of keys": {func(c *Config) { c.KeyFile, c.SecretFile = "", write(t, "k", "x") }, "algorithms[0]: needs public keys"},
		"no URL":           {func(c *Config) { c.KeyFile, c.JWKSURL = "", "issuer.test/keys" }, "jwks_url: not a URL of http or https without a password"},
		"places": {func(c *Config) {
			c.Token = []string{"body", "cookie:", "cookie", "header:Host", "header:X Y", "query:a&b", "protocol:a,b", "query:t"}
		},
			"token[0]: no place of a token\ntoken[1]: no place of a token\ntoken[2]: no place of a token\ntoken[3]: no place of a token\n" +
				"token[4]: no place of a token\ntoken[5]: no place of a token\ntoken[6]: no place of a token"},
		"no place":  {func(c *Config) { c.Token = nil }, "token: empty"},
		"leeway":    {func(c *Config) { c.Leeway = -1 }, "leeway: negative"},
		"subject":   {func(c *Config) { c.Subject = "" }, "subject: missing"},
		"on_expiry": {func(c *Config) { c.OnExpiry = "warn" }, "on_expiry: unknown"},
		"headers": {func(c *Config) { c.Headers = map[string]string{"Host": "sub", "X-A": "", "x_a": "sub"} },
			"headers.Host: header field Host belongs to the handshake\nheaders.X-A: no claim\nheaders.x_a: the same field as an earlier one"},
	} {
		c := newJWT(jose.ES256)
		c.KeyFile = write(t, "key.pem", ec)
		test.change(c)
		if got := problemsOf(c); got != test.want {
			t.Errorf("%s: problems:\n%s\nwant:\n%s", name, got, test.want)
		}
	}
}

func TestTokensThatAreSlowToVerifyTakeABoundedPartOfTheCPUs(t *testing.T) {
	key := signers()[jose.ES512]
	c := newJWT(jose.ES512, jose.ES256)
	c.KeyFile = write(t, "key.pem", string(publicPEM(key))+string(publicPEM(signers()[jose.ES256])))
	a := mustNew(t, c)
	slow, quick := Credentials{text: signed(t, jose.ES512, key, "", saying())}, Credentials{text: signed(t, jose.ES256, signers()[jose.ES256], "", saying())}
	if _, isKnown := a.TryDecide(&slow, time.Now()); isKnown {
		t.Error("a token of ES512 is verified where nothing may take long")
	}
	if d := a.Decide(context.Background(), &slow); d.Result != Accepted {
		t.Errorf("result %q, cause %q; want %q", d.Result, d.Cause, Accepted)
	}
	b := a.kind.(*bearer)
	for range cap(b.slots) {
		b.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if d := a.Decide(ctx, &slow); d.Result != Unavailable {
		t.Errorf("without a slot: result %q; want %q", d.Result, Unavailable)
	}
	if d, isKnown := a.TryDecide(&quick, time.Now()); !isKnown || d.Result != Accepted {
		t.Errorf("a token of ES256: %q, %t; want %q, true", d.Result, isKnown, Accepted)
	}
}
