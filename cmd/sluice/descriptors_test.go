//go:build unix

package main

import (
	"syscall"
	"testing"
)

// The runtime raises the soft limit by itself; a gateway depends on it.
func TestDescriptorLimitIsRaised(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur+1 < limit.Max {
		t.Errorf("descriptors: soft limit %d, hard limit %d", limit.Cur, limit.Max)
	}
}
