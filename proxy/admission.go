package proxy

import (
	"math"
	"net/netip"
	"time"

	"sluice/internal/share"
	"sluice/proxy/limits"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// Who gets a place, and what a client without one is told. A connection has a place from accept until it is closed; a handshake has one only
// while it is under way. The session that it becomes, and each plain request, has one as well.

// placeRefusals are the answers to clients without a place.
var placeRefusals = [limits.NumKinds][limits.NumRefusals]*upgrade.Rejection{
	limits.Connections: {limits.Full: later(upgrade.ErrConnections), limits.Share: later(upgrade.ErrConnectionsShare)},
	limits.Handshakes:  {limits.Full: later(upgrade.ErrHandshakes), limits.Share: later(upgrade.ErrHandshakesShare)},
	limits.Requests:    {limits.Full: later(upgrade.ErrRequests), limits.Share: later(upgrade.ErrRequestsShare)},
	limits.Sessions: {
		limits.Full: later(upgrade.ErrSessions), limits.Share: later(upgrade.ErrSessionsShare), limits.PerClient: later(upgrade.ErrSessionsPerIP),
	},
}

var errRate = later(upgrade.ErrRate)

func later(r *upgrade.Rejection) *upgrade.Rejection { return r.RetryAfter(reach.RetryAfter) }

// limitsOf returns the limits of a section. No limit is over the number of connections for which the process has descriptors.
func (p *Proxy) limitsOf(c *ListenerConfig) limits.Limits {
	most := p.totals[limits.Connections].Limit()
	clamped := func(n int64) int64 {
		if n == 0 || most > 0 && n > most {
			return most
		}
		return n
	}
	return limits.Limits{
		Places: [limits.NumKinds]int64{
			limits.Connections: clamped(int64(c.MaxConnections)),
			limits.Handshakes:  clamped(int64(c.MaxHandshakes)),
			limits.Requests:    clamped(min(int64(c.MaxHandshakes), math.MaxInt32) * requestsPerHandshake),
			limits.Sessions:    int64(c.MaxSessions),
		},
		PerClient: int64(c.MaxSessionsPerIP),
		Rate:      c.HandshakeRate,
		Burst:     c.HandshakeBurst,
	}
}

// requestsPerHandshake is how many plain requests may be under way for each handshake that may be. A request has a backend's connection, a
// few goroutines and buffers for as long as it lasts, which a stream of events does for hours.
const requestsPerHandshake = 4

// keyOf returns what a peer counts for. A proxy that is believed has many clients, which are counted once they are known.
func (l *listener) keyOf(peer netip.Addr) share.Key {
	if l.trust.Proxies.Includes(peer) || l.isBehindProxy && l.headerSenders.Includes(peer) {
		return share.Key{}
	}
	return share.KeyOf(peer)
}

// admit acquires the places of a connection that the listener has accepted.
func (c *connection) admit(peer netip.Addr) *upgrade.Rejection {
	c.of = c.keyOf(peer)
	if why := c.places.Acquire(limits.Connections, c.of); why != limits.Granted {
		c.proxy.relieve()
		return placeRefusals[limits.Connections][why]
	}
	c.isCounted = true
	if c.places.Short(limits.Connections) > 0 {
		c.proxy.relieve()
	}
	return c.beginHandshake(c.of)
}

// reassign makes the places of a connection those of the client that its PROXY header names.
func (c *connection) reassign(client netip.Addr) *upgrade.Rejection {
	of := c.keyOf(client)
	if why := c.places.Reassign(limits.Connections, c.of, of); why != limits.Granted {
		return placeRefusals[limits.Connections][why]
	}
	c.of = of
	return c.beginHandshake(of)
}

// beginHandshake acquires the place of a handshake for an address. One that the connection has for another address becomes this one's.
func (c *connection) beginHandshake(of share.Key) *upgrade.Rejection {
	why := limits.Granted
	if c.isHandshaking {
		why = c.places.Reassign(limits.Handshakes, c.handshakeOf, of)
	} else {
		why = c.places.Acquire(limits.Handshakes, of)
	}
	if why != limits.Granted {
		return placeRefusals[limits.Handshakes][why]
	}
	c.isHandshaking, c.handshakeOf = true, of
	if c.proxy.isOverdrawn() {
		c.proxy.relieve()
	}
	return nil
}

// endHandshake releases the place of the handshake. A second call does nothing.
func (c *connection) endHandshake() {
	if c.isHandshaking {
		c.isHandshaking = false
		c.places.Release(limits.Handshakes, c.handshakeOf)
	}
}

// leave releases all that a connection has of its listener. It is called once, and after the connection is closed unless a session has it.
func (c *connection) leave() {
	c.endHandshake()
	if c.isCounted {
		c.isCounted = false
		c.places.Release(limits.Connections, c.of)
	}
	c.releaseRef()
}

// giveToSession makes the place of the connection that of a session of the client. A stream has none.
func (c *connection) giveToSession(client netip.Addr) {
	if !c.isCounted {
		return
	}
	c.isCounted = false
	c.places.Move(limits.Connections, c.of, share.KeyOf(client))
}

// endSession releases the places of a session, which are also those of its connection.
func (l *listener) endSession(client netip.Addr) {
	release(l.places, client)
}

// Counted implements handshake.Gateway.
func (c *connection) Counted(client netip.Addr, now time.Time) *upgrade.Rejection {
	if !c.places.Request(share.KeyOf(client), now) {
		return errRate
	}
	if of := c.keyOf(client); c.isHandshaking && of != (share.Key{}) {
		return c.beginHandshake(of)
	}
	return nil
}

// Acquire implements handshake.Gateway, as Release does.
func (l *listener) Acquire(client netip.Addr) *upgrade.Rejection {
	return placeRefusals[limits.Sessions][l.places.Acquire(limits.Sessions, share.KeyOf(client))]
}

// Acquire implements handshake.Gateway for streams of HTTP/2 as well.
func (c *connection) Acquire(client netip.Addr) *upgrade.Rejection {
	if c.isStream[relay.Client] && !c.core.Route.IsHTTP2 && !c.proxy.hasRoom() {
		return placeRefusals[limits.Sessions][limits.Full]
	}
	return c.listener.Acquire(client)
}

// hasRoom reports whether there is a descriptor for the connection to a backend of HTTP/1.1 that a stream of a client needs. A connection of HTTP/1.1
// keeps one for it.
func (p *Proxy) hasRoom() bool {
	most := p.totals[limits.Connections].Limit()
	return most == 0 || p.totals[limits.Sessions].Held()+p.totals[limits.Requests].Held() < most
}

func (l *listener) Release(client netip.Addr) {
	l.places.Release(limits.Sessions, share.KeyOf(client))
}
