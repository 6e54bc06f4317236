package balancer

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// A Request is what a policy may choose by. Head may be nil for policies that don't use it.
type Request struct {
	Client netip.Addr
	Head   Head
}

// A Head is the head of the client's request. Its methods return nil for what is absent. Pick reads the
// results until it returns, and keeps none.
type Head interface {
	Header(name string) []byte
	Cookie(name string) []byte
	QueryValue(name string) []byte
	Path() []byte
}

// A key is the part of a request that a policy chooses by. It is computed before anything is locked.
type key struct {
	hash uint64
	text []byte // part of the request; nil if the key is only a hash
	ok   bool   // false: the request has no key
}

// A keyFunc returns the key of a request.
type keyFunc func(Request) key

func noKey(Request) key { return key{} }

func clientKey(r Request) key {
	if !r.Client.IsValid() {
		return key{}
	}
	client := r.Client.As16() // an IPv4 address has the same form, whether it is mapped into IPv6 or not
	return key{hash: xxhash.Sum64(client[:]), ok: true}
}

// headKey returns the func of a key that is a value of the request's head.
func headKey(value func(Head) []byte) keyFunc {
	return func(r Request) key {
		if r.Head == nil {
			return key{}
		}
		text := value(r.Head)
		return key{hash: xxhash.Sum64(text), text: text, ok: text != nil}
	}
}

// keyFunc returns the func of the key that c's policy chooses by.
func (c *Config) keyFunc() keyFunc {
	switch {
	case c.Policy == PolicyIPHash:
		return clientKey
	case c.Policy == PolicySticky:
		return headKey(func(h Head) []byte { return h.Cookie(c.Sticky.Cookie) })
	case c.Policy != PolicyHash:
		return noKey
	case c.Hash.Header != "":
		return headKey(func(h Head) []byte { return h.Header(c.Hash.Header) })
	case c.Hash.Cookie != "":
		return headKey(func(h Head) []byte { return h.Cookie(c.Hash.Cookie) })
	case c.Hash.Query != "":
		return headKey(func(h Head) []byte { return h.QueryValue(c.Hash.Query) })
	default:
		return headKey(Head.Path)
	}
}
