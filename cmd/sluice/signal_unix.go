//go:build unix

package main

import (
	"context"
	"os/signal"
	"syscall"

	"sluice/gateway"
)

// obeySignals reopens the log's file with each SIGUSR1, upgrades with SIGUSR2 and, if the gateway has a configuration file, reloads with each
// SIGHUP, until stop is called. Without a file a hang-up ends the process, as it does most programs: closing the terminal of a trial ends it. SIGPIPE is
// ignored: a reader of the log that ends must not end the gateway.
func obeySignals(g *gateway.Gateway, hasFile bool) (stop func()) {
	signal.Ignore(syscall.SIGPIPE)
	stopReopening := onSignal(syscall.SIGUSR1, g.Panics(), g.ReopenLog)
	stopUpgrading := onSignal(syscall.SIGUSR2, g.Panics(), func() { _, _ = g.Upgrade(context.Background()) }) // its error has been logged
	if !hasFile {
		return func() {
			stopUpgrading()
			stopReopening()
		}
	}
	stopReloading := onSignal(syscall.SIGHUP, g.Panics(), func() { _, _ = g.Reload(context.Background()) }) // its error has been logged
	return func() {
		stopReloading()
		stopUpgrading()
		stopReopening()
	}
}
