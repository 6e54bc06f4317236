package discovery

import (
	"context"
	"time"
)

// minGap is the least time between two lookups of a source, however often it is to refresh. After a
// failed lookup the next one follows after minGap, and after twice the time with each further failure,
// if the interval is not shorter.
const minGap = time.Second

// A poller is a Source that looks up its backends at an interval.
type poller struct {
	lookup   func(context.Context) ([]Backend, error)
	interval time.Duration
	refresh  chan struct{} // room for one signal
}

func newPoller(lookup func(context.Context) ([]Backend, error), interval time.Duration) *poller {
	return &poller{lookup: lookup, interval: interval, refresh: make(chan struct{}, 1)}
}

// Refresh implements Source.
func (p *poller) Refresh() {
	select {
	case p.refresh <- struct{}{}:
	default:
	}
}

// Watch implements Source.
func (p *poller) Watch(ctx context.Context, report func([]Backend, error)) {
	failures := 0
	var last, next time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.refresh:
			if earliest := last.Add(minGap); earliest.Before(next) {
				timer.Reset(time.Until(earliest))
			}
			continue
		case <-timer.C:
		}
		last = time.Now()
		found, err := p.lookup(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := p.interval
		if err == nil {
			failures = 0
		} else {
			wait = min(wait, minGap<<min(failures, 16))
			failures++
		}
		next = time.Now().Add(wait)
		timer.Reset(wait)
		report(found, err)
	}
}
