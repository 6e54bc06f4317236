package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal returns a context that ends with the first SIGTERM or SIGINT. A second one ends the
// process at once: who sends it doesn't want to wait for sessions to drain. stop gives the signals
// back their usual effect.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	// Room for both, so that the second is not lost however fast it comes.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	stopped := make(chan struct{})
	go watchSignals(signals, stopped, cancel)
	return ctx, func() {
		signal.Stop(signals)
		close(stopped)
		cancel()
	}
}

// watchSignals runs until it is stopped, or the process ends.
func watchSignals(signals <-chan os.Signal, stopped <-chan struct{}, cancel context.CancelFunc) {
	for _, act := range []func(){cancel, func() { os.Exit(exitFailure) }} {
		select {
		case <-signals:
			act()
		case <-stopped:
			return
		}
	}
}
