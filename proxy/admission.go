package proxy

import (
	"net/netip"
	"time"

	"sluice/upgrade"
)

// acquire takes the places of a session of that client: the gateway's, the listener's, the client's. nil: they are the caller's until
// release.
func (l *listener) acquire(client netip.Addr, now time.Time) *upgrade.Rejection {
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

// release gives back what acquire took.
func (l *listener) release(client netip.Addr, now time.Time) {
	l.clients.Release(client, now)
	l.places.Release()
	l.proxy.places.Release()
}
