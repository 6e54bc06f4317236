package tls

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
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
