package driver

import (
	"crypto/tls"
	"errors"
	"reflect"
	"time"
	"unsafe"

	"sluice/proxy/relay"
)

// keyChanges bound how often a peer changes the keys of its TLS 1.3 records (RFC 8446 section 4.6.3, KeyUpdate). To change them costs far
// more than the 27 bytes that ask for it, and an answer. A peer that follows RFC 8446 section 5.5 does so once in 2^24 records. The zero
// value is ready; the goroutine that reads the connection owns it.
type keyChanges struct {
	secret *byte         // of the keys in use at the last look
	dueAt  relay.Instant // when the changes so far are allowed for, one an interval
}

const (
	keyChangeInterval = 250 * time.Millisecond
	keyChangeBurst    = 8 // changes at once
)

// errKeyUpdates is the error of a read whose peer has changed its keys too often.
var errKeyUpdates = errors.New("too many key updates")

// areTooMany is called after each Read of a connection, and reports whether its peer has changed its keys too often. The changes within one
// Read, of which crypto/tls allows 16, count as one.
func (k *keyChanges) areTooMany(conn *tls.Conn, now relay.Instant) bool {
	secret := secretOf(conn)
	if secret == k.secret {
		return false
	}
	isFirst := k.secret == nil
	k.secret = secret
	if isFirst {
		return false
	}
	k.dueAt = max(k.dueAt, now).Add(keyChangeInterval)
	return k.dueAt > now.Add(keyChangeBurst*keyChangeInterval)
}

// secretAt is where a tls.Conn has the secret of its peer's keys, a []byte; 0: unknown. tls/stdlib_buffers_test.go tests the assumption.
// Immutable.
var secretAt = findSecret()

func findSecret() uintptr {
	in, isThere := reflect.TypeFor[tls.Conn]().FieldByName("in")
	if !isThere || in.Type.Kind() != reflect.Struct {
		return 0
	}
	secret, isThere := in.Type.FieldByName("trafficSecret")
	if !isThere || secret.Type != reflect.TypeFor[[]byte]() {
		return 0
	}
	return in.Offset + secret.Offset
}

// secretOf returns the first byte of the secret of a peer's keys, each of which lies in memory of its own; nil before TLS 1.3.
func secretOf(conn *tls.Conn) *byte {
	if secretAt == 0 {
		return nil
	}
	return unsafe.SliceData(*(*[]byte)(unsafe.Add(unsafe.Pointer(conn), secretAt)))
}
