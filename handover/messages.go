package handover

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Form is the number of the conversation: both ends have the same, or the hand-over is refused.
const Form = 1

const (
	// MaxSessions is the most sessions of a batch.
	MaxSessions = 100
	// MaxDescriptors is the most descriptors of a message. Linux allows 253.
	MaxDescriptors = 250
	// MaxBytes is the most bytes of a message, encoded.
	MaxBytes = 16 << 20

	// MaxText is the most bytes of a text that an operator reads, an address or a name.
	MaxText = 4 << 10
)

// Kind is what a message says.
type Kind uint16

const (
	KindHello        Kind = 1  // Hello, with a descriptor for each of its sockets
	KindReady        Kind = 2  // Ready
	KindFailed       Kind = 3  // Failed
	KindPoolsAndKeys Kind = 4  // PoolsAndKeys
	KindStarted      Kind = 5  // Started
	KindSessions     Kind = 6  // Sessions, with two descriptors for each
	KindAck          Kind = 7  // Ack
	KindDone         Kind = 8  // Done
	KindBye          Kind = 9  // Bye
	KindRemaining    Kind = 10 // Remaining

	lastKind = KindRemaining
)

// Hello is what the old process begins with.
type Hello struct {
	Form    int      `cbor:"1,keyasint"`           // Form
	Build   string   `cbor:"2,keyasint,omitempty"` // for the operator
	PID     int      `cbor:"3,keyasint,omitempty"`
	Clock   int64    `cbor:"4,keyasint,omitempty"` // of the driver, in nanoseconds
	Sockets []Socket `cbor:"5,keyasint,omitempty"` // in the order of their descriptors
}

// Socket is a listening socket.
type Socket struct {
	Name    string `cbor:"1,keyasint,omitempty"` // of the listener
	Address string `cbor:"2,keyasint,omitempty"` // as the listener is configured
	IsOwn   bool   `cbor:"3,keyasint,omitempty"` // the gateway has opened it, not systemd
	IsAdmin bool   `cbor:"4,keyasint,omitempty"` // it is the admin listener's
}

// Ready says that the new process can serve.
type Ready struct {
	Form  int    `cbor:"1,keyasint"` // Form
	Build string `cbor:"2,keyasint,omitempty"`
	PID   int    `cbor:"3,keyasint,omitempty"`
}

// Failed says that the new process can't serve, and ends.
type Failed struct {
	Text string `cbor:"1,keyasint,omitempty"` // why, for the operator
}

// PoolsAndKeys is what the new process needs before it accepts. It holds secrets. Each part is CBOR of the room that it is of.
type PoolsAndKeys struct {
	Pools cbor.RawMessage `cbor:"1,keyasint,omitempty"`
	Keys  cbor.RawMessage `cbor:"2,keyasint,omitempty"`
}

// Started says that the new process accepts.
type Started struct{}

// Sessions is a batch. The descriptors of a session are those of its client and its backend, in the order of the sessions. It holds secrets.
type Sessions struct {
	Sessions []cbor.RawMessage `cbor:"1,keyasint,omitempty"` // CBOR of the room that keeps the sessions
}

// Ack answers Sessions: the process that has sent it owns those that are taken.
type Ack struct {
	Why []string `cbor:"1,keyasint,omitempty"` // for each session; "": it is taken
}

// Done says that no sessions follow.
type Done struct{}

// Bye says that the new process is the gateway.
type Bye struct{}

// Remaining says how many sessions the old process still has.
type Remaining struct {
	Sessions int64     `cbor:"1,keyasint,omitempty"`
	Older    []Process `cbor:"2,keyasint,omitempty"` // those before the old process that still live
}

// Process is one that has handed over.
type Process struct {
	PID      int   `cbor:"1,keyasint,omitempty"`
	Sessions int64 `cbor:"2,keyasint,omitempty"`
}

// A checker is a message with bounds of its own.
type checker interface{ check() error }

// A carrier is a message with which descriptors come: so many. None come with any other.
type carrier interface{ descriptors() int }

func (h *Hello) descriptors() int { return len(h.Sockets) }

func (h *Hello) check() error {
	for _, s := range h.Sockets {
		if len(s.Name) > MaxText || len(s.Address) > MaxText {
			return errLongText
		}
	}
	if h.PID < 0 {
		return errNegativePID
	}
	return checkForm(h.Form, h.Build)
}

func (r *Ready) check() error {
	if r.PID < 0 {
		return errNegativePID
	}
	return checkForm(r.Form, r.Build)
}

func (f *Failed) check() error {
	if len(f.Text) > MaxText {
		return errLongText
	}
	return nil
}

func (s *Sessions) descriptors() int { return 2 * len(s.Sessions) }

func (s *Sessions) check() error {
	if n := len(s.Sessions); n > MaxSessions {
		return fmt.Errorf("%d sessions in a batch; at most %d are allowed", n, MaxSessions)
	}
	return nil
}

func (a *Ack) check() error {
	if n := len(a.Why); n > MaxSessions {
		return fmt.Errorf("%d sessions are acknowledged; a batch has at most %d", n, MaxSessions)
	}
	for _, why := range a.Why {
		if len(why) > MaxText {
			return errLongText
		}
	}
	return nil
}

func (r *Remaining) check() error {
	if r.Sessions < 0 {
		return errNegativeSessions
	}
	for _, p := range r.Older {
		if p.Sessions < 0 {
			return errNegativeSessions
		}
		if p.PID < 0 {
			return errNegativePID
		}
	}
	return nil
}

var (
	errLongText         = fmt.Errorf("a text is over %d bytes", MaxText)
	errNegativePID      = errors.New("a negative process ID")
	errNegativeSessions = errors.New("a negative number of sessions")
)

// checkForm checks what both ends begin with.
func checkForm(form int, build string) error {
	switch {
	case form != Form:
		return fmt.Errorf("the other process has form %d of the hand-over; this one has form %d", form, Form)
	case len(build) > MaxText:
		return errLongText
	}
	return nil
}
