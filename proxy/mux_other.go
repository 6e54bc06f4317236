//go:build !linux

package proxy

import "sluice/proxy/h2"

// Only event loops speak HTTP/2.

type muxSet struct{}

func (l *listener) endMuxes() {}

func (l *listener) closeIdleMuxes(int64) {}

func (p *Proxy) streamCounts() map[string]int { return map[string]int{} }

func (p *Proxy) hasLoops() bool { return p.driver == nil }

func newMuxConfig(*ListenerConfig) *h2.Config { return nil }

func (c *connection) moveToMux() bool { return false }
