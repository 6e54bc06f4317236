//go:build unix

package gateway

import "syscall"

// descriptorLimit returns the number of descriptors that the process may have.
func descriptorLimit() (limit uint64, isKnown bool) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return uint64(l.Cur), true
}
