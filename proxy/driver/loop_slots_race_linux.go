//go:build race

package driver

// newHots returns a slab in Go's heap, where the race detector looks.
func newHots() *[slabSize]hot { return new([slabSize]hot) }
