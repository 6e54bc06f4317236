package main

import (
	"os"
	"syscall"
	"testing"
)

func TestSignalsAreObeyedAfterAPanic(t *testing.T) {
	var acts, panics int
	signals, ended := make(chan os.Signal, 2), make(chan struct{})
	signals <- syscall.SIGTERM
	signals <- syscall.SIGTERM
	close(signals)
	actOnSignals(signals, ended, func(string, any, []byte) { panics++ }, func() {
		if acts++; acts == 1 {
			panic("broken")
		}
	})
	<-ended
	if acts != 2 || panics != 1 {
		t.Errorf("%d calls and %d panics, want 2 and 1", acts, panics)
	}
}
