//go:build sluice_faults

package recovery

import "bytes"

// Provoke panics if what a peer has sent asks for a panic in that place.
func Provoke(place string, sent []byte) {
	if bytes.Contains(sent, []byte("provoke-a-panic-in-"+place)) {
		panic("provoked in " + place)
	}
}
