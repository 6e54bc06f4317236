package relay

import (
	"errors"
	"math/rand/v2"
	"time"
)

// An Allowance is until when a session may go on, and how fast its client may send. Most sessions have none (nil): it isn't a part of Session, so
// that an idle one stays small.
// Owned by the session's driver, which passes it in Env with each call.
type Allowance struct {
	lifetimeAt Instant // the end of the configuration's max_lifetime; 0: never
	expiresAt  Instant // the end of what the client was admitted with; 0: never

	messages, bytes, controls meter // of the configuration's rates

	readyAt    Instant // when what waits for a rate may go on, while the client isn't read because of one (pauseRate)
	waitsSince Instant // something that has been read waits for a rate, and for nothing else, since then; 0: nothing waits
	delayed    uint64  // number of the last message that waited, from 1
	isHurried  bool    // nothing waits (Hurry)

	// OnDelay is called for each message that waits for a rate, once. It may be nil.
	OnDelay func()
}

// NewAllowance returns the allowance of a session that begins now, or nil if its configuration limits nothing that an Allowance counts.
func NewAllowance(c *Config, now Instant) *Allowance {
	if c.MaxLifetime == 0 && !c.IsMetered() {
		return nil
	}
	a := &Allowance{}
	if c.MaxLifetime > 0 {
		a.lifetimeAt = now.Add(c.MaxLifetime - rand.N(c.MaxLifetime/10+1)) // so that sessions that began together don't end together
	}
	return a
}

// ExpireAt sets when the session is closed with ReasonAuthExpired; 0 means never. It replaces what was set before. The caller asks for the
// session's Deadline afterwards.
func (a *Allowance) ExpireAt(at Instant) { a.expiresAt = at }

// due returns when the session is over, and why. It returns 0 for never. a may be nil.
func (a *Allowance) due() (at Instant, reason Reason) {
	switch {
	case a == nil:
		return 0, 0
	case a.expiresAt != 0 && (a.lifetimeAt == 0 || a.expiresAt <= a.lifetimeAt):
		return a.expiresAt, ReasonAuthExpired
	default:
		return a.lifetimeAt, ReasonLifetime
	}
}

// codeOf returns the close code for a reason for which an Allowance ends a session.
func (c *Config) codeOf(reason Reason) uint16 {
	if reason == ReasonAuthExpired {
		return c.AuthExpired
	}
	return c.LifetimeOver
}

// AllowanceState is an Allowance as one process tells another. The number of a field never gets another meaning.
type AllowanceState struct {
	LifetimeAt int64 `cbor:"1,keyasint,omitempty"` // nanoseconds on the driver's clock, as all instants here; 0: never
	ExpiresAt  int64 `cbor:"2,keyasint,omitempty"` // 0: never
	Messages   int64 `cbor:"3,keyasint,omitempty"` // when all messages that have passed are within their rate
	Bytes      int64 `cbor:"4,keyasint,omitempty"`
	Controls   int64 `cbor:"5,keyasint,omitempty"`
}

// State returns the allowance for another process; nil if there is none. Nothing may wait for a rate (Hurry).
func (a *Allowance) State() *AllowanceState {
	if a == nil {
		return nil
	}
	return &AllowanceState{
		LifetimeAt: int64(a.lifetimeAt), ExpiresAt: int64(a.expiresAt),
		Messages: int64(a.messages), Bytes: int64(a.bytes), Controls: int64(a.controls),
	}
}

// Allowance returns the allowance of a state, from whatever source; nil if there is none. st may be nil.
func (st *AllowanceState) Allowance() (*Allowance, error) {
	if st == nil {
		return nil, nil
	}
	for _, at := range []int64{st.LifetimeAt, st.ExpiresAt, st.Messages, st.Bytes, st.Controls} {
		if at < 0 || at > int64(maxInstant) {
			return nil, errors.New("an impossible instant of a session's limits")
		}
	}
	return &Allowance{
		lifetimeAt: Instant(st.LifetimeAt), expiresAt: Instant(st.ExpiresAt),
		messages: meter(st.Messages), bytes: meter(st.Bytes), controls: meter(st.Controls),
	}, nil
}

// maxInstant is the latest instant that may be set: 146 years after the clock's beginning. What is added to it doesn't overflow.
const maxInstant = Instant(1 << 62)

// At returns the instant of a time that is d after now: at least 1, at most what may be set.
func (t Instant) At(d time.Duration) Instant {
	if d > 0 {
		return t + min(Instant(d), maxInstant-t)
	}
	return max(t+Instant(d), 1)
}
