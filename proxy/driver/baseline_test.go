package driver

import (
	"errors"
	"os"
	"runtime"
	"testing"
)

// baseline notes goroutines and descriptors; the function it returns checks that there are no more.
func baseline(t *testing.T) (check func()) {
	a, b := tcpPair(t, false) // the first socket of a process makes the runtime open its own poller
	_, _ = a.Close(), b.Close()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	return func() {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Logf("%d goroutines, before %d; %d descriptors, before %d", runtime.NumGoroutine(), goroutines, descriptors(t), fds)
			}
		}()
		eventually(t, "goroutines back at the baseline", func() bool { return runtime.NumGoroutine() <= goroutines })
		eventually(t, "descriptors back at the baseline", func() bool { return descriptors(t) <= fds })
	}
}

// descriptors counts the process's; 0 if that is not known.
func descriptors(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
