// Package share divides a bounded number of places among the addresses that want them, without a list of who waits, without a clock, and
// without taking a place away.
//
// An address may take a place as long as it holds no more than a weight times the places that are still free. So one address alone gets
// weight/(1+weight) of all, n of them leave a part of 1/(1+weight·n) free, and what a greedy address can't have is always there for one
// that holds none. As places are released, every address may take more again. It is the dynamic threshold of switches with shared memory
// (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
package share

import (
	"encoding/binary"
	"net/netip"
)

// A Key is an address that places are counted by. The zero Key is no address, such as that of a client at a Unix socket: it has all the
// places that there are.
type Key struct{ high, low uint64 }

// KeyOf returns the key of an address. An IPv6 address counts by its /64, since providers assign a whole /64 to one customer.
func KeyOf(a netip.Addr) Key {
	switch a = a.Unmap(); {
	case a.Is4():
		b := a.As4()
		return Key{low: 4<<32 | uint64(binary.BigEndian.Uint32(b[:]))}
	case a.Is6():
		b := a.As16()
		return Key{high: binary.BigEndian.Uint64(b[:8]), low: 6 << 32}
	default:
		return Key{}
	}
}

// Allows reports whether an address that holds some places may take another one of those that are free.
func Allows(held, free, weight int64) bool {
	return free > 0 && (held+weight-1)/weight <= free
}
