package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"

	"sluice/upgrade"
)

// A basic decides by user names and passwords (RFC 7617).
type basic struct {
	challenge string
	users     atomic.Pointer[users]
	verified  *verified
	slots     slots // of bcrypt
}

func newBasic(name string) *basic {
	b := &basic{challenge: fmt.Sprintf("Basic realm=%q, charset=\"UTF-8\"", name), verified: newVerified(), slots: newSlots()}
	b.users.Store(new(users))
	return b
}

// apply makes the users of a file those that count.
func (b *basic) apply(contents [][]byte) error {
	u, problems := parseUsers(contents[0])
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	b.users.Store(&u)
	return nil
}

// read implements kind.
func (b *basic) read(r *upgrade.Request) Credentials {
	return fieldOf(r, "Authorization")
}

// hiddenParameters implements kind.
func (b *basic) hiddenParameters() []string { return nil }

// A login is what the credentials of a request are, and what is known of its user.
type login struct {
	name, password string
	hash           string // of the user's password, or of another one if there is no such user
	isUser         bool
}

// tryDecide implements kind.
func (b *basic) tryDecide(c *Credentials, _ time.Time) (d Decision, isKnown bool) {
	switch {
	case c.isAmbiguous:
		return refused(Invalid, "more than one Authorization field", b.challenge), true
	case c.text == "":
		return refused(Missing, "no credentials", b.challenge), true
	}
	l, isLogin := b.loginOf(c)
	switch {
	case !isLogin:
		return refused(Invalid, "credentials that are not Basic", b.challenge), true
	case l.isUser && b.verified.has(b.sumOf(&l)):
		return Decision{Result: Accepted, Subject: l.name}, true
	default:
		return Decision{}, false
	}
}

// decide implements kind.
func (b *basic) decide(ctx context.Context, c *Credentials) Decision {
	if !b.slots.acquire(ctx) {
		return noSlot()
	}
	defer b.slots.release()
	l, _ := b.loginOf(c) // which isn't older than the wait
	sum := b.sumOf(&l)
	isRight := l.isUser && b.verified.has(sum) // another request may have had the same
	if !isRight {
		isRight = bcrypt.CompareHashAndPassword([]byte(l.hash), []byte(l.password)) == nil && l.isUser
	}
	if !isRight {
		return refused(Invalid, "wrong user or password", b.challenge)
	}
	b.verified.add(sum)
	return Decision{Result: Accepted, Subject: l.name}
}

// loginOf reads credentials: "Basic" and NAME:PASSWORD in base64.
func (b *basic) loginOf(c *Credentials) (l login, isLogin bool) {
	scheme, encoded, _ := strings.Cut(c.text, " ")
	if !strings.EqualFold(scheme, "basic") {
		return login{}, false
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimLeft(encoded, " "))
	name, password, isPair := bytes.Cut(decoded, []byte(":"))
	if err != nil || !isPair {
		return login{}, false
	}
	l = login{name: string(name), password: string(password)}
	u := b.users.Load()
	if l.hash, l.isUser = u.hashes[l.name]; !l.isUser {
		l.hash = b.hashFor(u, l.name)
	}
	return l, true
}

// hashFor returns the hash that the password of an unknown user is compared with: always the same one for a name, so that the time tells
// nothing about which users there are.
func (b *basic) hashFor(u *users, name string) string {
	sum := b.verified.sum(name)
	return u.all[binary.BigEndian.Uint64(sum[:8])%uint64(len(u.all))]
}

// sumOf returns what stands for a login in verified.
func (b *basic) sumOf(l *login) [32]byte { return b.verified.sum(l.name, l.password, l.hash) }
