package balancer

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

const (
	// minSecretBytes is the least that signs a cookie.
	minSecretBytes = 16
	// tokenBytes is how much of the signature stands in a cookie: 128 bits can't be guessed.
	tokenBytes = 16
)

// tokenTextBytes is the length of a token as text.
var tokenTextBytes = base64.RawURLEncoding.EncodedLen(tokenBytes)

// A stickyCookie is what sends a client back to a backend.
type stickyCookie struct {
	token string // its value: the backend's signature
	line  string // the value of Set-Cookie
}

// cookies finds the members of a tier by their cookies. Immutable.
type cookies struct {
	index map[string]int // by token
	line  []string       // by index
}

func newCookies(t *tier) *cookies {
	c := &cookies{index: make(map[string]int, len(t.backends)), line: make([]string, len(t.backends))}
	for i, b := range t.backends {
		c.index[b.cookie.token], c.line[i] = i, b.cookie.line
	}
	return c
}

// bySticky goes back to the backend that the client's cookie names, if it is there and may take the
// session, and else where the fewest sessions are.
func bySticky(_ *Pool, t *tier, k key, tried []*Backend) int {
	if i, found := t.cookies.find(k); found && t.mayTake(i, tried) {
		return i
	}
	return t.least(tried)
}

// find looks up the whole signature, which takes no longer for a wrong one that begins well.
func (c *cookies) find(k key) (int, bool) {
	if !k.ok || len(k.text) != tokenTextBytes {
		return 0, false
	}
	i, found := c.index[string(k.text)]
	return i, found
}

// A signer makes the cookies of a pool. Immutable.
type signer struct {
	secret []byte
	pool   string
	config StickyConfig
}

// newSigner returns the signer of c, or nil if its policy needs none.
func newSigner(c *Config) (*signer, error) {
	if c.Policy != PolicySticky {
		return nil, nil
	}
	secret, err := c.Sticky.secret()
	if err != nil {
		return nil, err
	}
	return &signer{secret: secret, pool: c.Name, config: c.Sticky}, nil
}

// cookie returns the cookie of a backend. Its value is the signature of the pool and the address,
// and nothing else: a client can neither make one nor read an address in it, every process with the
// secret makes the same, and as one is signed a backend, not a session, a pick costs a lookup.
func (s *signer) cookie(a address) stickyCookie {
	mac := hmac.New(sha256.New, s.secret)
	// A length before the name, so that no pool's name runs into another's addresses.
	_, _ = fmt.Fprintf(mac, "sluice sticky %d %s %s", len(s.pool), s.pool, a.id())
	token := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:tokenBytes])
	return stickyCookie{token: token, line: s.config.line(token)}
}

// line returns the value of a Set-Cookie field (RFC 6265 section 4.1.1).
func (c *StickyConfig) line(token string) string {
	var b strings.Builder
	b.WriteString(c.Cookie + "=" + token)
	if c.TTL > 0 {
		b.WriteString("; Max-Age=" + strconv.FormatInt(int64(c.TTL.Std().Seconds()), 10))
	}
	if c.Path != "" {
		b.WriteString("; Path=" + c.Path)
	}
	if c.Domain != "" {
		b.WriteString("; Domain=" + c.Domain)
	}
	if c.Secure {
		b.WriteString("; Secure")
	}
	if c.HTTPOnly {
		b.WriteString("; HttpOnly")
	}
	switch c.SameSite {
	case "lax":
		b.WriteString("; SameSite=Lax")
	case "strict":
		b.WriteString("; SameSite=Strict")
	case "none":
		b.WriteString("; SameSite=None")
	}
	return b.String()
}

// secret returns what signs the cookies.
func (c *StickyConfig) secret() ([]byte, error) {
	secret := []byte(c.Secret)
	if c.SecretFile != "" {
		text, err := os.ReadFile(c.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("read the secret of sticky cookies: %w", err)
		}
		secret = bytes.TrimSpace(text)
	}
	if len(secret) < minSecretBytes {
		return nil, errors.New("secret of sticky cookies is shorter than 16 bytes")
	}
	return secret, nil
}
