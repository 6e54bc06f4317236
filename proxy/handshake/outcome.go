package handshake

import (
	"errors"
	"time"

	"sluice/upgrade"
)

// An Outcome is how a handshake ended.
type Outcome uint8

const (
	UnderWay    Outcome = iota
	Established         // it became a session
	Refused             // the gateway answered: Core.Rejection
	Passed              // the client got the backend's own answer
	Torn                // it got a part of that
	ClientLost          // the client has gone
	Served              // the connection's requests are accounted for elsewhere
)

// Reason returns the label of the outcome in metrics and the access log.
func (c *Core) Reason() string {
	switch c.Outcome {
	case Refused:
		return c.Rejection.Reason
	case Passed, Torn:
		return "status"
	default:
		return "client_lost"
	}
}

// IsRequest reports whether there was a request at all: a port scan makes none.
func (c *Core) IsRequest() bool {
	return c.Outcome == Refused || c.Memory != nil && len(c.Memory.FromClient.Bytes()) > 0
}

// End accounts for a handshake that made no session, once. It may block on a slow log.
func (c *Core) End(now time.Time) {
	if c.isEnded {
		return
	}
	c.isEnded = true
	if c.hasPlaces {
		c.hasPlaces = false
		c.gateway.Release(c.Client.Addr.Addr(), now)
	}
	c.endTrace()
	if c.Outcome != Served && c.IsRequest() {
		c.gateway.Ended(c)
	}
}

// rejectionOf returns the answer that an error is.
func rejectionOf(err error) *upgrade.Rejection {
	var rejection *upgrade.Rejection
	if !errors.As(err, &rejection) {
		panic("BUG: refused by " + err.Error())
	}
	return rejection
}
