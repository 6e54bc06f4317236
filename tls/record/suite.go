package record

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// A suite is an index of suites; 0: none.
type suite uint8

// suites are those of RFC 8446 section B.4 that crypto/tls negotiates.
var suites = [...]struct {
	id        uint16
	hash      func() hash.Hash
	hashBytes int // of a traffic secret
	keyBytes  int
	aead      func(key []byte) (cipher.AEAD, error)
}{
	{},
	{tls.TLS_AES_128_GCM_SHA256, sha256.New, sha256.Size, 16, newGCM},
	{tls.TLS_AES_256_GCM_SHA384, sha512.New384, sha512.Size384, 32, newGCM},
	{tls.TLS_CHACHA20_POLY1305_SHA256, sha256.New, sha256.Size, chacha20poly1305.KeySize, chacha20poly1305.New},
}

const (
	ivBytes  = 12 // of each suite
	tagBytes = 16 // of each suite
)

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// suiteOf returns the suite of an id of RFC 8446 section B.4, or 0.
func suiteOf(id uint16) suite {
	for s := range suites {
		if s > 0 && suites[s].id == id {
			return suite(s)
		}
	}
	return 0
}

// A half is one direction of a connection.
type half struct {
	seq    uint64 // of the next record under these keys
	secret [sha512.Size384]byte
	key    [32]byte
	iv     [ivBytes]byte
	cached uint32 // where a Layer had the AEAD last
}

// setSecret derives the keys from a secret (RFC 8446 section 7.3). The next record is the first one under them.
func (h *half) setSecret(s suite, secret []byte) {
	of := &suites[s]
	*h = half{}
	copy(h.secret[:], secret)
	h.expand(s, h.key[:of.keyBytes], "key")
	h.expand(s, h.iv[:], "iv")
}

// update replaces the secret and keys by the next ones (RFC 8446 section 7.2).
func (h *half) update(s suite) {
	var next [len(h.secret)]byte
	secret := next[:suites[s].hashBytes]
	h.expand(s, secret, "traffic upd")
	h.setSecret(s, secret)
}

// expand fills dst by HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context.
func (h *half) expand(s suite, dst []byte, label string) {
	const prefix = "tls13 "
	info := binary.BigEndian.AppendUint16(make([]byte, 0, 32), uint16(len(dst)))
	info = append(info, byte(len(prefix)+len(label)))
	info = append(append(info, prefix...), label...)
	p, err := hkdf.Expand(suites[s].hash, h.secret[:suites[s].hashBytes], string(append(info, 0)), len(dst))
	if err != nil {
		panic("BUG: " + err.Error()) // more bytes than 255 hashes have
	}
	copy(dst, p)
}
