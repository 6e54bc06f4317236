package balancer

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// A Request is what a policy may choose by. Head may be nil for policies that need none of it.
type Request struct {
	Client netip.Addr
	Head   Head
}

// A Head is the client's request. What it returns is nil if absent, and is read until Pick returns.
type Head interface {
	Header(name string) []byte
	Cookie(name string) []byte
	QueryValue(name string) []byte
	Path() []byte
}

// A key is what a policy takes from a request, before anything is locked.
type key struct {
	hash uint64
	text []byte // of the request; nil if the key is a hash only
	ok   bool   // there is one
}

// A keyFunc takes the key from a request.
type keyFunc func(*Request) key

func noKey(*Request) key { return key{} }

func clientKey(r *Request) key {
	if !r.Client.IsValid() {
		return key{}
	}
	client := r.Client.As16() // one form for an IPv4 address, mapped into IPv6 or not
	return key{hash: xxhash.Sum64(client[:]), ok: true}
}

// headKey takes the key from the head of the request; a request without it has none.
func headKey(value func(Head) []byte) keyFunc {
	return func(r *Request) key {
		if r.Head == nil {
			return key{}
		}
		text := value(r.Head)
		return key{hash: xxhash.Sum64(text), text: text, ok: text != nil}
	}
}

// keyFunc returns where c's policy takes its key from.
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
