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
// more than the 27 bytes that ask for it. A peer that follows RFC 8446 section 5.5 does so once in 2^24 records. The zero value is ready.
type keyChanges struct {
	dueAt  relay.Instant // when the changes so far are allowed for, one an interval
	earned uint16        // changes that are allowed besides
}

const (
	keyChangeInterval = 250 * time.Millisecond
	keyChangeBurst    = 8 // changes at once
	mostEarned        = 1 << 10
)

// earn allows a change for each record with data that the peer has been sent. A peer whose own limit of records under one key is reached may
// ask for new keys of ours with each record that it reads until it sees them (Java does), and many records may be on their way.
func (k *keyChanges) earn(records int) { k.earned = uint16(min(int(k.earned)+records, mostEarned)) }

// errKeyUpdates is the error of a read whose peer has changed its keys too often.
var errKeyUpdates = errors.New("too many key updates")

// add notes a change, and reports whether there were too many.
func (k *keyChanges) add(now relay.Instant) (isTooOften bool) {
	if k.earned > 0 {
		k.earned--
		return false
	}
	k.dueAt = max(k.dueAt, now).Add(keyChangeInterval)
	return k.dueAt > now.Add(keyChangeBurst*keyChangeInterval)
}

// A peerSecret finds the key changes that crypto/tls doesn't report. The zero value is ready.
type peerSecret struct {
	last *byte // of the keys in use at the last look
}

// hasChanged is called after each Read of a connection, and reports whether its peer has changed its keys since the last call. The changes
// within one Read, of which crypto/tls allows 16, count as one.
func (p *peerSecret) hasChanged(conn *tls.Conn) bool {
	before := p.last
	p.last = secretOf(conn)
	return before != nil && p.last != before
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
