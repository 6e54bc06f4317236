package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"sluice/internal/recovery"
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

// reopenOnSignal opens the log's file anew with each SIGUSR1, until stop is called: who rotates logs moves the file away and sends
// it. Where the log is no file, the signal does nothing.
func (l *logs) reopenOnSignal(panics recovery.Handler) (stop func()) {
	signals := make(chan os.Signal, 1) // one says as much as several
	signal.Notify(signals, syscall.SIGUSR1)
	ended := make(chan struct{})
	go l.watchReopen(signals, ended, panics)
	return func() {
		signal.Stop(signals)
		close(signals)
		<-ended
	}
}

// watchReopen runs until signals is closed.
func (l *logs) watchReopen(signals <-chan os.Signal, ended chan<- struct{}, panics recovery.Handler) {
	defer close(ended)
	for range signals {
		panics.Guard(room, l.reopen)
	}
}

// reopen opens the log's file anew, and tells that.
func (l *logs) reopen() {
	if err := l.out.reopen(); err != nil {
		l.main.Error("log output can't be opened anew", zap.Error(err))
		return
	}
	l.main.Info("log output opened anew")
}
