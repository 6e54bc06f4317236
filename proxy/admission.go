package proxy

import (
	"net/netip"
	"time"

	"sluice/upgrade"
)

// Acquire acquires the places of a session of that client: the gateway's, the listener's and the client's. A nil result means that the
// caller has them until Release.
func (l *listener) Acquire(client netip.Addr, now time.Time) *upgrade.Rejection {
	if !l.proxy.places.Acquire(l.proxy.maxSessions.Load()) {
		return upgrade.ErrLimit
	}
	if !l.places.Acquire(int64(l.maxSessions)) {
		l.proxy.places.Release()
		return upgrade.ErrLimit
	}
	if !l.clients.Acquire(client, now) {
		l.places.Release()
		l.proxy.places.Release()
		return upgrade.ErrRate
	}
	return nil
}

// Release releases what Acquire has acquired.
func (l *listener) Release(client netip.Addr, now time.Time) {
	l.clients.Release(client, now)
	l.places.Release()
	l.proxy.places.Release()
}
