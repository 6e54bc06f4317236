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
	Refused             // the gateway answered, with Core.Rejection
	Passed              // the client got the backend's own answer
	Torn                // the client got a part of the backend's answer
	ClientLost          // the client has gone
	Served              // the requests of the connection are accounted for elsewhere
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

// IsRequest reports whether the client has sent a part of a request. A port scan sends none.
func (c *Core) IsRequest() bool {
	return c.Outcome == Refused || c.Memory != nil && len(c.Memory.FromClient.Bytes()) > 0
}

// End accounts for a handshake that made no session. Only its first call has an effect. It may block on a slow log.
func (c *Core) End(now time.Time) {
	if c.isEnded {
		return
	}
	c.isEnded = true
	if c.hasPlace {
		c.hasPlace = false
		c.gateway.Release(c.Client.Addr.Addr())
	}
	c.endTrace()
	if c.Outcome != Served && c.IsRequest() {
		c.gateway.Ended(c)
	}
}

// rejectionOf returns the Rejection in an error.
func rejectionOf(err error) *upgrade.Rejection {
	var rejection *upgrade.Rejection
	if !errors.As(err, &rejection) {
		panic("BUG: refused by " + err.Error())
	}
	return rejection
}
