//go:build !unix

package gateway

// descriptorLimit returns the number of descriptors that the process may have.
func descriptorLimit() (limit uint64, isKnown bool) { return 0, false }
