package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"sluice/internal/recovery"
)

// untilSignal returns a context that ends with the first SIGTERM or SIGINT. A second one ends the process at once, without waiting for
// sessions to drain. stop gives the signals back their usual effect.
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

// onSignal calls act for a signal, on a goroutine of its own, until stop is called. Signals that come while act runs are one call more.
func onSignal(s os.Signal, panics recovery.Handler, act func()) (stop func()) {
	signals := make(chan os.Signal, 1) // one that waits says as much as several
	signal.Notify(signals, s)
	ended := make(chan struct{})
	go actOnSignals(signals, ended, panics, act)
	return func() {
		signal.Stop(signals)
		close(signals)
		<-ended
	}
}

// actOnSignals runs until signals is closed.
func actOnSignals(signals <-chan os.Signal, ended chan<- struct{}, panics recovery.Handler, act func()) {
	defer close(ended)
	for range signals {
		panics.Guard(room, act)
	}
}

// room is the name of the program in calls of a recovery.Handler.
const room = "sluice"
