package auth

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"sluice/internal/filewatch"
	"sluice/upgrade"
)

// A bearer decides by signed tokens: JWT (RFC 7519) in the compact form of JWS (RFC 7515).
type bearer struct {
	config     *Config
	algorithms []jose.SignatureAlgorithm
	sources    []source
	prefixes   []string // of subprotocols that are tokens
	headers    []string // names of the fields that are set for the backend; sorted
	missing    string   // challenges
	invalid    string

	parse  func(content []byte) (keySet, error) // of a file; nil with an issuer
	file   atomic.Pointer[keySet]
	issuer *issuer // nil with a file

	slots slots // of tokens that are slow to verify
}

func newBearer(c *Config, log *zap.Logger) *bearer {
	b := &bearer{config: c, sources: c.sources(), headers: slices.Sorted(maps.Keys(c.Headers)), slots: newSlots()}
	for _, name := range c.Algorithms {
		b.algorithms = append(b.algorithms, jose.SignatureAlgorithm(name))
	}
	for _, s := range b.sources {
		if s.kind == fromProtocol {
			b.prefixes = append(b.prefixes, s.name)
		}
	}
	b.missing = fmt.Sprintf("Bearer realm=%q", c.Name)
	b.invalid = b.missing + `, error="invalid_token"` // RFC 6750 section 3.1
	if c.JWKSURL != "" {
		b.issuer = newIssuer(c.JWKSURL, log)
	}
	return b
}

// filesOf returns the source of a file of keys; nil if there is none.
func (b *bearer) filesOf() []*filewatch.Source {
	path, parse := b.config.keyFile()
	if path == "" {
		return nil
	}
	b.parse = parse
	return []*filewatch.Source{{Paths: []string{path}, Apply: b.apply}}
}

// apply makes the keys of a file those that count.
func (b *bearer) apply(contents [][]byte) error {
	keys, err := b.parse(contents[0])
	if err == nil {
		err = keys.checked(b.algorithms)
	}
	if err == nil {
		b.file.Store(&keys)
	}
	return err
}

// run fetches keys until ctx ends.
func (b *bearer) run(ctx context.Context) {
	if b.issuer != nil {
		b.issuer.run(ctx)
	}
}

// read implements kind. Subprotocols that are tokens are hidden from the backend.
func (b *bearer) read(r *upgrade.Request) (c Credentials) {
	r.HideProtocols(b.prefixes)
	for i := range b.sources {
		if c = b.sources[i].read(r); c.text != "" || c.isAmbiguous {
			return c
		}
	}
	return c
}

// hiddenParameters implements kind.
func (b *bearer) hiddenParameters() (names []string) {
	for _, s := range b.sources {
		if s.kind == fromQuery {
			names = append(names, s.name)
		}
	}
	return names
}

// keys returns the keys in use. areKnown is false if there were none yet.
func (b *bearer) keys() (keys keySet, areKnown bool) {
	if b.issuer != nil {
		return b.issuer.current()
	}
	return *b.file.Load(), true
}

// tryDecide implements kind. It needs a wait if the issuer may have the token's key, and it is not here yet.
func (b *bearer) tryDecide(c *Credentials, now time.Time) (d Decision, isKnown bool) {
	token, d := b.parseToken(c)
	switch {
	case token == nil:
		return d, true
	case b.isForeign(token) && b.issuer != nil && b.issuer.mayHaveNew(), isSlow(token):
		return Decision{}, false
	default:
		return b.judge(token, now), true
	}
}

// decide implements kind.
func (b *bearer) decide(ctx context.Context, c *Credentials) Decision {
	token, d := b.parseToken(c)
	if token == nil {
		return d
	}
	if b.isForeign(token) && b.issuer != nil {
		b.issuer.refresh(ctx)
	}
	if isSlow(token) {
		if !b.slots.acquire(ctx) {
			return noSlot()
		}
		defer b.slots.release()
	}
	return b.judge(token, time.Now())
}

// parseToken returns the token, or nil and the decision about what is none.
func (b *bearer) parseToken(c *Credentials) (*jose.JSONWebSignature, Decision) {
	switch {
	case c.isAmbiguous:
		return nil, b.refuse("more than one token")
	case c.text == "":
		return nil, refused(Missing, "no token", b.missing)
	}
	token, err := jose.ParseSignedCompact(c.text, b.algorithms)
	if err != nil {
		return nil, b.refuse("no signed token of an allowed algorithm")
	}
	return token, Decision{}
}

func algorithmOf(token *jose.JSONWebSignature) jose.SignatureAlgorithm {
	return jose.SignatureAlgorithm(token.Signatures[0].Header.Algorithm)
}

// isSlow reports whether a loop should not verify a token itself: these curves take milliseconds.
func isSlow(token *jose.JSONWebSignature) bool {
	a := algorithmOf(token)
	return a == jose.ES384 || a == jose.ES512
}

// isForeign reports whether none of the keys that are here may be the token's.
func (b *bearer) isForeign(token *jose.JSONWebSignature) bool {
	keys, _ := b.keys()
	return len(keys.find(algorithmOf(token), token.Signatures[0].Header.KeyID)) == 0
}

// maxTried bounds the keys that are tried for a token that names none.
const maxTried = 8

// judge decides by the keys that are here.
func (b *bearer) judge(token *jose.JSONWebSignature, now time.Time) Decision {
	keys, areKnown := b.keys()
	if !areKnown {
		return unavailable("no keys from the issuer yet")
	}
	fitting := keys.find(algorithmOf(token), token.Signatures[0].Header.KeyID)
	if len(fitting) == 0 {
		return b.refuse("no key for the token's key id and algorithm")
	}
	for _, k := range fitting[:min(len(fitting), maxTried)] {
		if payload, err := token.Verify(k.key); err == nil {
			return b.judgeClaims(payload, now)
		}
	}
	return b.refuse("a wrong signature")
}

// judgeClaims decides by what a verified token says.
func (b *bearer) judgeClaims(payload []byte, now time.Time) Decision {
	said, isObject := parseClaims(payload)
	if !isObject {
		return b.refuse("a payload that is not an object of JSON")
	}
	ends, isEnd := said.time("exp")
	begins, isBegin := said.time("nbf")
	leeway := b.config.Leeway.Std()
	switch {
	case !isEnd || !isBegin:
		return b.refuse("exp or nbf is not a time")
	case !ends.IsZero() && !now.Before(ends.Add(leeway)):
		return refused(Expired, "the token has expired", b.invalid)
	case !begins.IsZero() && now.Before(begins.Add(-leeway)):
		return b.refuse("the token is not valid yet")
	case len(b.config.Issuer) > 0 && !said.has("iss", b.config.Issuer...):
		return b.refuse("another issuer")
	case len(b.config.Audience) > 0 && !said.has("aud", b.config.Audience...):
		return b.refuse("another audience")
	}
	for _, name := range slices.Sorted(maps.Keys(b.config.Require)) {
		if !said.has(name, b.config.Require[name]) {
			return b.refuse("the claim " + name + " is not as required")
		}
	}
	subject, isText := said.text(b.config.Subject)
	switch {
	case !isText || subject == "":
		return b.refuse("no claim " + b.config.Subject + " for the subject")
	case len(subject) > maxSubject:
		return b.refuse("a subject that is too long")
	}
	d := Decision{Result: Accepted, Subject: subject, Own: b.headers}
	for _, name := range b.headers {
		if value, isText := said.text(b.config.Headers[name]); isText && value != "" {
			d.Fields = append(d.Fields, upgrade.Field{Name: name, Value: string(upgrade.Printable([]byte(value)))})
		}
	}
	if !ends.IsZero() && b.config.OnExpiry == OnExpiryClose {
		d.Expires = ends.Add(leeway)
	}
	return d
}

// maxSubject bounds the bytes of a subject, which a session keeps.
const maxSubject = 256

func (b *bearer) refuse(cause string) Decision { return refused(Invalid, cause, b.invalid) }

// A source is a place of a request where a token may be.
type source struct {
	kind sourceKind
	name string // of the field, the cookie or the parameter; the prefix of the subprotocol
}

type sourceKind uint8

const (
	fromAuthorization sourceKind = iota
	fromHeader
	fromCookie
	fromQuery
	fromProtocol
)

// parseSource reads an element of token.
func parseSource(text string) (s source, isSource bool) {
	kind, name, hasName := strings.Cut(text, ":")
	s.name = name
	switch {
	case text == "header":
		return source{}, true
	case !hasName || name == "":
		return source{}, false
	}
	switch kind {
	case "header":
		s.kind = fromHeader
	case "cookie":
		s.kind = fromCookie
	case "query":
		s.kind = fromQuery
	case "protocol":
		s.kind = fromProtocol
	default:
		return source{}, false
	}
	if s.kind == fromHeader {
		return s, upgrade.CheckFieldName(name) == nil
	}
	return s, upgrade.IsToken(name) && (s.kind != fromQuery || !strings.ContainsAny(name, "&%+#"))
}

// read returns what a request has at the source.
func (s *source) read(r *upgrade.Request) Credentials {
	switch s.kind {
	case fromAuthorization:
		return bearerOf(fieldOf(r, "Authorization"))
	case fromHeader:
		return fieldOf(r, s.name)
	case fromCookie:
		return Credentials{text: string(r.Cookie(s.name))}
	case fromQuery:
		return Credentials{text: string(r.QueryValue(s.name))}
	case fromProtocol:
		return Credentials{text: string(r.ProtocolWith(s.name))}
	default:
		panic("BUG: no such source of tokens")
	}
}

// fieldOf returns the value of a field. If there are several, a backend may read another one.
func fieldOf(r *upgrade.Request, name string) (c Credentials) {
	for value := range r.Backward(name) {
		if c.text != "" {
			return Credentials{isAmbiguous: true}
		}
		c.text = string(value)
	}
	return c
}

// bearerOf returns the token of Authorization: RFC 6750 section 2.1. Credentials of another scheme are none.
func bearerOf(c Credentials) Credentials {
	scheme, token, _ := strings.Cut(c.text, " ")
	if !strings.EqualFold(scheme, "bearer") {
		return Credentials{isAmbiguous: c.isAmbiguous}
	}
	return Credentials{text: strings.TrimLeft(token, " ")}
}
