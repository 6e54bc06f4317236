package session

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
	"unicode/utf8"

	"sluice/balancer"
	"sluice/proxy/relay"
	"sluice/proxy/route"
)

// A State is a session as one process tells another, which goes on with it. The number of a field never gets another meaning.
type State struct {
	ID         uint64            `cbor:"1,keyasint,omitempty"`
	Start      int64             `cbor:"2,keyasint,omitempty"` // in nanoseconds since 1970; 0: now
	Listener   string            `cbor:"3,keyasint,omitempty"`
	Route      RouteState        `cbor:"4,keyasint,omitempty"`
	Backend    balancer.Identity `cbor:"5,keyasint,omitempty"`
	Client     []byte            `cbor:"6,keyasint,omitempty"` // netip.AddrPort in its binary form; empty: it has none
	Host       []byte            `cbor:"7,keyasint,omitempty"` // as the texts of Info
	Path       []byte            `cbor:"8,keyasint,omitempty"`
	Query      []byte            `cbor:"9,keyasint,omitempty"`
	Protocol   []byte            `cbor:"10,keyasint,omitempty"`
	ClientTLS  uint16            `cbor:"11,keyasint,omitempty"` // version; 0 means no TLS
	BackendTLS uint16            `cbor:"12,keyasint,omitempty"`
	HasDeflate bool              `cbor:"13,keyasint,omitempty"`
}

// A RouteState is what a session has of its route.
type RouteState struct {
	Listener string `cbor:"1,keyasint,omitempty"`
	Host     string `cbor:"2,keyasint,omitempty"`
	Path     string `cbor:"3,keyasint,omitempty"`
	Name     string `cbor:"4,keyasint,omitempty"`
	Pool     string `cbor:"5,keyasint,omitempty"`
	Drained  uint16 `cbor:"6,keyasint,omitempty"` // close code of its sessions that are drained; 0: they get no close
	Key      []byte `cbor:"7,keyasint,omitempty"` // of its conditions; empty: it is made of Listener, Host and Path
}

// State returns what another process needs to go on with the session, apart from what the driver has.
func (s *Session) State() State {
	r := s.Route
	client, _ := s.Client.MarshalBinary() // it never fails
	return State{
		ID: s.ID, Start: s.Start.UnixNano(), Listener: s.Source.Name,
		Route: RouteState{
			Listener: r.Listener, Host: r.FirstHost(), Path: r.Path, Name: r.Name, Pool: r.PoolName, Drained: uint16(r.CloseCodes.Drained),
			Key: r.SentKey(),
		},
		Backend: s.Backend.Identity(), Client: client,
		Host: []byte(s.Host()), Path: []byte(s.Path()), Query: []byte(s.Query()), Protocol: []byte(s.Subprotocol()),
		ClientTLS: s.tls[relay.Client], BackendTLS: s.tls[relay.Backend], HasDeflate: s.hasDeflate,
	}
}

// Check returns what is wrong with a state, which may be from anywhere.
func (st *State) Check() error {
	for _, text := range []string{st.Listener, st.Route.Listener, st.Route.Host, st.Route.Path, st.Route.Name, st.Route.Pool} {
		if len(text) > math.MaxUint16 || !utf8.ValidString(text) {
			return errors.New("a name that is too long, or not UTF-8")
		}
	}
	for _, text := range [][]byte{st.Host, st.Path, st.Query, st.Protocol} {
		if len(text) > math.MaxUint16 {
			return errors.New("a text that is too long")
		}
	}
	if _, isKey := route.SentKey(st.Route.Key); len(st.Route.Key) > 0 && !isKey {
		return errors.New("a key of a route that is none")
	}
	if code := int(st.Route.Drained); code != 0 && !relay.IsCloseCode(code) {
		return fmt.Errorf("close code %d may not be sent", code)
	}
	if st.Start < 0 {
		return errors.New("a start before 1970")
	}
	_, err := st.client()
	return err
}

// maxClient bounds the binary form of a client's address: an IPv6 address, a zone and a port.
const maxClient = 64

func (st *State) client() (client netip.AddrPort, err error) {
	switch {
	case len(st.Client) == 0:
		return client, nil
	case len(st.Client) > maxClient:
		return client, errors.New("an address that is too long")
	}
	err = client.UnmarshalBinary(st.Client)
	return client, err
}

// Restore returns the session of a state for which Check has no error. It isn't in the registry yet. The caller has a place of the backend
// for it, and of its client.
func (r *Registry) Restore(st *State, source *Source, of *route.Route, backend *balancer.Backend) *Session {
	client, err := st.client()
	if err != nil {
		panic("BUG: an unchecked state: " + err.Error())
	}
	s := r.New(&Info{
		ID: st.ID, Source: source, Route: of, Backend: backend, Client: client,
		Host: st.Host, Path: st.Path, Query: st.Query, Subprotocol: st.Protocol,
		TLS: [2]uint16{relay.Client: st.ClientTLS, relay.Backend: st.BackendTLS}, HasDeflate: st.HasDeflate,
	})
	if now := s.Start.UnixNano(); st.Start != 0 && st.Start < now {
		s.Start = s.Start.Add(time.Duration(st.Start - now)) // later steps of the system's clock don't change how long the session lasts
	}
	return s
}

// IsClosing reports whether a close of both sides has been asked for.
func (s *Session) IsClosing() bool { return s.isClosing.Load() }

// Leave removes a session with which another process goes on, and releases all that it has here. It has not ended, so nothing accounts for
// an end. It returns false if the session has ended before, as after a panic.
func (r *Registry) Leave(s *Session) bool {
	if s.isEnded.Swap(true) {
		return false
	}
	defer r.remove(s)
	defer s.Source.Release(s.Client.Addr())
	outcome := balancer.ClientFault // it says nothing about the backend
	if s.shedding.Swap(hasEnded) == isShed {
		outcome = balancer.Shed
	}
	s.Backend.Release(outcome)
	return true
}
