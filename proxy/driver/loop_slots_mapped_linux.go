//go:build !race

package driver

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// newHots returns a slab outside of Go's heap: for each byte that lives in the heap the collector lets one of garbage grow beside it.
// It is never freed; a loop's slots serve for as long as the process lives.
func newHots() *[slabSize]hot {
	const size = int(unsafe.Sizeof([slabSize]hot{}))
	p, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return new([slabSize]hot) // the limit of mappings is reached
	}
	return (*[slabSize]hot)(unsafe.Pointer(unsafe.SliceData(p)))
}
