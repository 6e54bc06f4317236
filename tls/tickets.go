package tls

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

const (
	// ticketKeyCount is how many keys of this process's own open tickets: the one that seals, and
	// those before it. A ticket is good for three to four times TicketConfig.Rotate.
	ticketKeyCount = 4
	// maxTicketKeys bounds a key file: each key is tried on each ticket.
	maxTicketKeys = 16
)

// A ticketKey seals and opens session tickets, as crypto/tls takes it.
type ticketKey = [32]byte

// rotated returns keys with a fresh one in front, and the oldest gone when there are enough.
func rotated(keys []ticketKey) []ticketKey {
	var fresh ticketKey
	_, _ = rand.Read(fresh[:]) // never fails: it ends the process where it could
	return append([]ticketKey{fresh}, keys[:min(len(keys), ticketKeyCount-1)]...)
}

// A TicketState is what another process needs so that the tickets of this one's own keys stay good. It is secret.
type TicketState struct {
	Keys [][]byte `cbor:"1,keyasint,omitempty"` // the first one seals
	Left int64    `cbor:"2,keyasint,omitempty"` // until the next rotation, in nanoseconds
}

// TicketState returns the keys of this process's own. There are none if the keys come from a file.
func (s *Server) TicketState() (state TicketState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range s.tickets {
		state.Keys = append(state.Keys, key[:])
	}
	if len(state.Keys) > 0 {
		state.Left = int64(max(0, time.Until(s.rotateAt)))
	}
	return state
}

// RestoreTickets goes on with the keys of another process, instead of those of this process's own. Where the keys come from a file it does
// nothing, and so it does without keys. It is called before Run. After an error nothing has changed.
func (s *Server) RestoreTickets(state *TicketState) error {
	if s.rotate == 0 || len(state.Keys) == 0 {
		return nil
	}
	if len(state.Keys) > ticketKeyCount {
		return fmt.Errorf("%d ticket keys (want at most %d)", len(state.Keys), ticketKeyCount)
	}
	keys := make([]ticketKey, len(state.Keys))
	for i, key := range state.Keys {
		if len(key) != len(ticketKey{}) {
			return fmt.Errorf("a ticket key of %d bytes (want %d)", len(key), len(ticketKey{}))
		}
		keys[i] = ticketKey(key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tickets = keys
	s.rotateAt = time.Now().Add(min(max(0, time.Duration(state.Left)), s.rotate))
	s.config.Load().SetSessionTicketKeys(keys)
	return nil
}

// rotateDue returns how long it is until the next rotation.
func (s *Server) rotateDue() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, time.Until(s.rotateAt))
}

// parseTicketKeys returns the keys of a key file: 32 bytes in base64 a line; the first one seals.
// Empty lines and lines that start with # are skipped. An error never holds a key's text.
func parseTicketKeys(text []byte) ([]ticketKey, error) {
	var keys []ticketKey
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		decoded, err := base64.StdEncoding.AppendDecode(nil, line)
		if err != nil || len(decoded) != len(ticketKey{}) {
			return nil, fmt.Errorf("line %d is not 32 bytes in base64", number)
		}
		if len(keys) == maxTicketKeys {
			return nil, fmt.Errorf("over %d keys", maxTicketKeys)
		}
		keys = append(keys, ticketKey(decoded))
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in it")
	}
	return keys, nil
}
