//go:build !linux

package driver

import (
	"testing"

	"sluice/internal/recovery"
)

func openRecovering(_ testing.TB, _ *kind, h recovery.Handler) Driver { return NewGoroutine(h) }

func poolsOfLoops(Driver) *pools { panic("BUG: no loops here") }

// forgetConfig breaks a session.
func forgetConfig(h *Handle) {
	in := h.controller.(*goroutineSession)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.config = nil
}
