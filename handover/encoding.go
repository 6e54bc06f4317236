package handover

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

var (
	encoding = must(cbor.CoreDetEncOptions().EncMode())
	decoding = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  16,
		MaxArrayElements: 1 << 16, // more than the backends of all pools
		MaxMapPairs:      1 << 16,
	}.DecMode())
)

func must[T any](mode T, err error) T {
	if err != nil {
		panic("BUG: " + err.Error()) // the options contradict each other
	}
	return mode
}

// Encode returns the CBOR of a message, or of a part of one.
func Encode(v any) ([]byte, error) {
	p, err := encoding.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return p, nil
}

// Decode reads the CBOR of a message, or of a part of one, into v, a pointer to a zero value. fds are the descriptors that came with the
// message; it is an error if the message speaks of another number. The descriptors stay the caller's. v may hold slices of p's bytes.
func Decode(p []byte, v any, fds ...int) error {
	if err := decoding.Unmarshal(p, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	if c, hasBounds := v.(checker); hasBounds {
		if err := c.check(); err != nil {
			return fmt.Errorf("decode %T: %w", v, err)
		}
	}
	want := 0
	if c, hasDescriptors := v.(carrier); hasDescriptors {
		want = c.descriptors()
	}
	if len(fds) != want {
		return fmt.Errorf("decode %T: it came with %d descriptors, and speaks of %d", v, len(fds), want)
	}
	return nil
}
