package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// maxVerified is how many passwords a verified remembers.
const maxVerified = 4096

// A verified remembers passwords that were verified, so that bcrypt runs once for each user and not for each request. It has a keyed sum of a
// user's name, password and hash in the place of these: a changed hash is another entry. Its methods may be called from any goroutine.
type verified struct {
	key []byte // random; immutable

	mu sync.Mutex

	sums map[[sha256.Size]byte]struct{} // guarded by mu; maxVerified at most
}

func newVerified() *verified {
	v := &verified{key: make([]byte, sha256.Size), sums: map[[sha256.Size]byte]struct{}{}}
	_, _ = rand.Read(v.key) // it never fails
	return v
}

// sum returns what stands for texts in their order.
func (v *verified) sum(texts ...string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, v.key)
	for _, text := range texts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(text)))
		h.Write(size[:])
		h.Write([]byte(text))
	}
	h.Sum(sum[:0])
	return sum
}

// has reports whether a sum was added.
func (v *verified) has(sum [sha256.Size]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, isThere := v.sums[sum]
	return isThere
}

// add adds a sum. If there is no room, it forgets another one.
func (v *verified) add(sum [sha256.Size]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.sums) >= maxVerified {
		for other := range v.sums { // in no order
			delete(v.sums, other)
			break
		}
	}
	v.sums[sum] = struct{}{}
}
