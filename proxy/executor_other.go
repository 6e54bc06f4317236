//go:build !linux

package proxy

import "sluice/proxy/handshake"

// acceptOnLoops reports that there are no loops.
func (l *listener) acceptOnLoops() bool { return false }

// moveToLoop reports that there are no loops.
func (c *connection) moveToLoop(handshake.Step) bool { return false }
