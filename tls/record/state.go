package record

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"fmt"
)

// State is a connection as one process tells another, which goes on with it. It holds secrets. A field that is missing there is zero,
// which is harmless or refused. The number of a field never gets another meaning.
type State struct {
	Suite      uint16    `cbor:"1,keyasint"` // of RFC 8446 section B.4
	In         HalfState `cbor:"2,keyasint"`
	Out        HalfState `cbor:"3,keyasint"`
	IsClient   bool      `cbor:"4,keyasint,omitempty"` // this end is TLS's client
	OwesUpdate bool      `cbor:"5,keyasint,omitempty"` // the peer has asked for new keys
	HasEnded   bool      `cbor:"6,keyasint,omitempty"` // an alert was sealed
	Left       uint32    `cbor:"7,keyasint,omitempty"` // bytes to come of a message that is read over
	Begun      []byte    `cbor:"8,keyasint,omitempty"` // the beginning of a message that hasn't come whole
	Useless    uint8     `cbor:"9,keyasint,omitempty"` // records and messages in a row that carried no data
}

// HalfState is one direction of a connection.
type HalfState struct {
	Secret []byte `cbor:"1,keyasint"` // traffic secret of RFC 8446 section 7.1
	Seq    uint64 `cbor:"2,keyasint,omitempty"`
}

// State returns what another process needs to go on with the connection. The caller owns it.
func (c *Conn) State() State {
	size := suites[c.suite].hashBytes
	return State{
		Suite:      suites[c.suite].id,
		In:         HalfState{Secret: bytes.Clone(c.in.secret[:size]), Seq: c.in.seq},
		Out:        HalfState{Secret: bytes.Clone(c.out.secret[:size]), Seq: c.out.seq},
		IsClient:   c.flags&isClient != 0,
		OwesUpdate: c.flags&owesUpdate != 0,
		HasEnded:   c.flags&hasEnded != 0,
		Left:       c.left,
		Begun:      append([]byte(nil), c.begun[:c.begunLen]...),
		Useless:    c.useless,
	}
}

// maxSeq is more records than a connection can have had under one key.
const maxSeq = 1 << 48

// Restore returns the connection of a state, from whatever source; the error says what is impossible. It needs no crypto/tls, and so works
// where Works returns an error, except in FIPS 140 mode.
func Restore(st *State) (Conn, error) {
	if fips140.Enabled() {
		return Conn{}, errFIPS
	}
	s := suiteOf(st.Suite)
	if s == 0 {
		return Conn{}, fmt.Errorf("unknown cipher suite %#04x", st.Suite)
	}
	if err := checkBegun(st); err != nil {
		return Conn{}, err
	}
	c := Conn{suite: s, left: st.Left, begunLen: uint8(len(st.Begun)), useless: st.Useless}
	copy(c.begun[:], st.Begun)
	for _, half := range []struct {
		to   *half
		from *HalfState
	}{{&c.in, &st.In}, {&c.out, &st.Out}} {
		if len(half.from.Secret) != suites[s].hashBytes {
			return Conn{}, fmt.Errorf("a traffic secret of %d bytes", len(half.from.Secret))
		}
		if half.from.Seq > maxSeq {
			return Conn{}, fmt.Errorf("%d records under one key", half.from.Seq)
		}
		half.to.setSecret(s, half.from.Secret)
		half.to.seq = half.from.Seq
	}
	for flag, isSet := range map[flags]bool{isClient: st.IsClient, owesUpdate: st.OwesUpdate, hasEnded: st.HasEnded} {
		if isSet {
			c.flags |= flag
		}
	}
	return c, nil
}

// checkBegun checks what a state says of a message that hasn't come whole, as messages leaves it.
func checkBegun(st *State) error {
	switch n := len(st.Begun); {
	case st.Useless > maxUseless:
		return errors.New("too many records without data")
	case n > messageHeaderBytes || n > 0 && st.Left > 0:
		return errors.New("two messages at once")
	case st.Left > maxTicket || st.Left > 0 && !st.IsClient:
		return errors.New("a session ticket that is impossible")
	case n == messageHeaderBytes && !bytes.Equal(st.Begun, []byte{messageKeyUpdate, 0, 0, 1}):
		return errors.New("a message that is impossible")
	}
	return nil
}
