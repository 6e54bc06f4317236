//go:build !race

package driver

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// newSlab returns a slab outside of Go's heap: for each byte that lives in the heap the collector lets one of garbage grow beside it. A T has
// no pointers. The slab is never freed; a loop's slots serve for as long as the process lives.
func newSlab[T any]() *[slabSize]T {
	size := int(unsafe.Sizeof([slabSize]T{}))
	p, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return new([slabSize]T) // the limit of mappings is reached
	}
	return (*[slabSize]T)(unsafe.Pointer(unsafe.SliceData(p)))
}
