package balancer

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sluice/internal/files"
)

const (
	// minSecretBytes is the minimum length of the secret that signs cookies.
	minSecretBytes = 16
	// mostSecretBytes bounds what is read as a secret.
	mostSecretBytes = 4096
	// tokenBytes is the part of the signature that a cookie carries: 128 bits can't be guessed.
	tokenBytes = 16
)

// tokenTextBytes is the length of a token as text.
var tokenTextBytes = base64.RawURLEncoding.EncodedLen(tokenBytes)

// A stickyCookie is what sends a client back to a backend.
type stickyCookie struct {
	token     string // its value: the backend's signature
	setCookie string // the value of the Set-Cookie field
}

// cookies finds candidates by their cookies. Immutable.
type cookies struct {
	index     map[string]int // by token
	setCookie []string       // by index
}

func newCookies(cs *candidates) *cookies {
	c := &cookies{index: make(map[string]int, len(cs.backends)), setCookie: make([]string, len(cs.backends))}
	for i, b := range cs.backends {
		c.index[b.cookie.token], c.setCookie[i] = i, b.cookie.setCookie
	}
	return c
}

// bySticky chooses the backend of the client's cookie if it can accept the session, and else the least
// loaded one.
func bySticky(_ *Pool, cs *candidates, k key, tried []*Backend) int {
	if i, found := cs.cookies.find(k); found && cs.canAccept(i, tried) {
		return i
	}
	return cs.leastLoaded(tried)
}

// find returns the candidate of the cookie in k. It looks up the whole signature, so that the time does not
// depend on how many bytes of a guess are right.
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

// newSigner returns the signer of c, or nil if its policy needs none. It may read the secret's file.
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

// cookie returns the cookie of a backend. Its value is only the signature of the pool and the address. A
// client can neither forge it nor read an address in it, and every process with the secret makes the same
// one. It is signed once per backend, not per session, so a pick costs one lookup.
func (s *signer) cookie(a address) stickyCookie {
	mac := hmac.New(sha256.New, s.secret)
	// The length keeps the end of the name apart from the start of the address.
	_, _ = fmt.Fprintf(mac, "sluice sticky %d %s %s", len(s.pool), s.pool, a.id())
	token := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:tokenBytes])
	return stickyCookie{token: token, setCookie: s.config.setCookie(token)}
}

// setCookie returns the value of a Set-Cookie field (RFC 6265 section 4.1.1).
func (c *StickyConfig) setCookie(token string) string {
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

// secret returns the secret, from its file if one is configured.
func (c *StickyConfig) secret() ([]byte, error) {
	secret := []byte(c.Secret)
	if c.SecretFile != "" {
		text, err := files.Read(c.SecretFile, mostSecretBytes)
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
