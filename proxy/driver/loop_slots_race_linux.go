//go:build race

package driver

// newSlab returns a slab in Go's heap, where the race detector looks.
func newSlab[T any]() *[slabSize]T { return new([slabSize]T) }
