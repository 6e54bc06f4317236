//go:build !unix

package main

import "sluice/gateway"

// obeySignals does nothing: the system has no such signals.
func obeySignals(*gateway.Gateway, bool) (stop func()) { return func() {} }
