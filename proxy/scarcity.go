package proxy

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"sluice/internal/netconn"
	"sluice/proxy/limits"
)

// What happens when places, descriptors or ports run out.

// warnings has the log lines about clients that are refused: one a minute at most for each reason of a listener.
type warnings struct {
	mu sync.Mutex

	of map[warningKey]*warning // guarded by mu
}

type warningKey struct{ listener, reason string }

type warning struct {
	at   time.Time
	more int // refusals since then
}

// warningInterval is the least time between two lines about the same.
const warningInterval = time.Minute

// due counts a refusal, and returns how many there were since the last line if the next line is due.
func (w *warnings) due(key warningKey, now time.Time) (count int, isDue bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[warningKey]*warning{}
	}
	of := w.of[key]
	if of == nil {
		of = &warning{}
		w.of[key] = of
	}
	of.more++
	if now.Sub(of.at) < warningInterval {
		return 0, false
	}
	count, of.at, of.more = of.more, now, 0
	return count, true
}

// warn logs that clients are refused for a reason, with what is known of the last one. It doesn't block.
func (l *listener) warn(reason string, field zap.Field) {
	count, isDue := l.proxy.warnings.due(warningKey{l.name, reason}, time.Now())
	if isDue {
		l.proxy.log.Warn("clients are refused", zap.String("listener", l.name), zap.String("reason", reason), zap.Int("count", count), field)
	}
}

// warnIfExhausted logs that clients are refused if the reason is that the process or its system lacks something.
func (l *listener) warnIfExhausted(reason, cause string) {
	switch netconn.Resource(reason) {
	case netconn.Descriptors, netconn.Ports, netconn.Memory:
		l.warn(reason, zap.String("error", cause))
	}
}

// warnOfLimits logs which limits of the listener are over what the process has descriptors for.
func (l *listener) warnOfLimits() {
	most := l.proxy.totals[limits.Connections].Limit()
	for _, limit := range []struct {
		key string
		n   int
	}{{"max_connections", l.config.MaxConnections}, {"max_handshakes", l.config.MaxHandshakes}} {
		if most > 0 && int64(limit.n) > most {
			l.proxy.log.Warn("a limit is lowered to what the process has descriptors for", zap.String("listener", l.name),
				zap.String("key", limit.key), zap.Int("configured", limit.n), zap.Int64("limit", most))
		}
	}
}

// isOverdrawn reports whether idle connections to backends have descriptors that are kept for connections of clients: two for each that
// may still come.
func (p *Proxy) isOverdrawn() bool {
	idle := p.plainConns.Load() - p.totals[limits.Requests].Held()
	return idle/2 > p.totals[limits.Connections].Free()
}

// relieve closes idle connections of plain requests until an eighth of all connections is free, and idle connections to backends if they
// have descriptors that others are to have. It doesn't block.
func (p *Proxy) relieve() {
	if p.isRelieving.CompareAndSwap(false, true) {
		p.running.Go(p.closeSurplus)
	}
}

func (p *Proxy) closeSurplus() {
	defer p.isRelieving.Store(false)
	defer p.panics.Catch(room, nil)
	for _, l := range *p.listeners.Load() {
		if n := l.places.Short(limits.Connections); n > 0 {
			l.plain.CloseIdle(n)
			l.closeIdleMuxes(n)
		}
	}
	if p.isOverdrawn() {
		p.closeIdle()
	}
}
