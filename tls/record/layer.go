package record

import (
	"crypto/cipher"
	"encoding/binary"
)

// cacheSize is how many AEADs a Layer keeps, of about 1 KB each.
const cacheSize = 512

// recordLimit is the Limit of NewLayer: for AES-GCM, RFC 8446 section 5.5 allows 2^24.5 full-size records. ChaCha20-Poly1305 needs no limit,
// and has the same.
const recordLimit = 1 << 24

// A Layer opens and seals the records of many connections, one at a time. It keeps the AEADs of those that were busy last. One goroutine
// at a time may use it.
type Layer struct {
	// Limit is after how many records under one key the Layer changes the key. A test may lower it.
	Limit uint64

	cache []cached
	next  int // where the search for an AEAD to replace begins
	nonce [ivBytes]byte
}

// cached is an AEAD, and the key that it is for.
type cached struct {
	key    [32]byte
	aead   cipher.AEAD
	isUsed bool // again, since the search for one to replace came by: what is used once is replaced first
}

// NewLayer returns a layer without AEADs, with the Limit of RFC 8446.
func NewLayer() *Layer { return &Layer{Limit: recordLimit} }

// aead returns the AEAD for a direction's key.
func (l *Layer) aead(s suite, h *half) cipher.AEAD {
	if int(h.cached) < len(l.cache) {
		if c := &l.cache[h.cached]; c.key == h.key {
			c.isUsed = true
			return c.aead
		}
	}
	aead, err := suites[s].aead(h.key[:suites[s].keyBytes])
	if err != nil {
		panic("BUG: " + err.Error()) // the key has another length
	}
	if len(l.cache) < cacheSize {
		h.cached = uint32(len(l.cache))
		l.cache = append(l.cache, cached{key: h.key, aead: aead})
		return aead
	}
	for l.cache[l.next].isUsed {
		l.cache[l.next].isUsed = false
		l.next = (l.next + 1) % cacheSize
	}
	h.cached = uint32(l.next)
	l.cache[l.next] = cached{key: h.key, aead: aead}
	l.next = (l.next + 1) % cacheSize
	return aead
}

// setNonce makes the nonce of a direction's next record (RFC 8446 section 5.3).
func (l *Layer) setNonce(h *half) []byte {
	l.nonce = h.iv
	last := l.nonce[ivBytes-8:]
	binary.BigEndian.PutUint64(last, binary.BigEndian.Uint64(last)^h.seq)
	return l.nonce[:]
}

// Forget wipes what is known of a connection.
func (l *Layer) Forget(c *Conn) {
	for _, h := range []*half{&c.in, &c.out} {
		l.forget(h)
	}
	*c = Conn{}
}

// forget drops the AEAD of a direction.
func (l *Layer) forget(h *half) {
	if int(h.cached) < len(l.cache) && l.cache[h.cached].key == h.key {
		l.cache[h.cached] = cached{}
	}
}
