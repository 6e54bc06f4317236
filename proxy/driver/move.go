package driver

import (
	"sluice/proxy/relay"
	"sluice/tls/record"
)

// State is a session of a loop as one process tells another, which goes on with it (Loops.Freeze, Loops.Adopt). It holds secrets. A field that
// is missing there is zero, which is harmless or refused. The number of a field never gets another meaning.
type State struct {
	Relay relay.State  `cbor:"1,keyasint"`
	Sides [2]SideState `cbor:"2,keyasint"`
}

// SideState is what a driver keeps of one side.
type SideState struct {
	TLS        *record.State `cbor:"1,keyasint,omitempty"` // nil: the side has no TLS
	Queue      []byte        `cbor:"2,keyasint,omitempty"` // waits for the side; records, if it has TLS
	Held       []byte        `cbor:"3,keyasint,omitempty"` // pongs for the side that wait for a boundary
	Carry      []byte        `cbor:"4,keyasint,omitempty"` // the part of a header or control frame that the side has sent
	Part       []byte        `cbor:"5,keyasint,omitempty"` // the part of a record that the side has sent
	KeysDueAt  int64         `cbor:"6,keyasint,omitempty"` // when the side's key changes so far are allowed for, as an instant
	KeysEarned uint16        `cbor:"7,keyasint,omitempty"` // key changes that are allowed besides
	IsWide     bool          `cbor:"8,keyasint,omitempty"` // the socket has no bound of its own on what the kernel holds for the side
}

// Frozen is what Loops.Freeze returns for a session.
type Frozen struct {
	State *State // nil: the session goes on as before
	Why   string // it does: one of the constants below
	FDs   [2]int // by side; they stay the driver's, and open until Thaw or Forget
}

// Reasons why a session can't move.
const (
	WhyGoroutine = "goroutine" // it isn't a loop's
	WhyTLS12     = "tls_1_2"   // crypto/tls has a side's records: mostly because it speaks TLS 1.2
	WhyHTTP2     = "http2"     // a side is a stream of an HTTP/2 connection, which stays
	WhyClosing   = "closing"   // it has begun to end, or is over
)
