//go:build !linux

package proxy

// acceptOnLoops: there are none.
func (l *listener) acceptOnLoops() bool { return false }

// goOnLoop: there are none.
func (h *handshake) goOnLoop() error { return nil }
