package limits

import (
	"time"

	"sluice/internal/share"
)

// Request counts a request of an address, and reports whether its rate allows it: as a bucket of Burst requests that fills by Rate a second.
func (p *Places) Request(of share.Key, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limits.Rate == 0 || of == (share.Key{}) {
		return true
	}
	c, isKnown := p.known[of]
	if !isKnown {
		p.sweepIfDue()
	}
	each := time.Second / time.Duration(p.limits.Rate)
	at := now.Sub(p.start)
	paid := max(c.paid, at) + each
	if paid-at > each*time.Duration(p.limits.Burst) {
		return false
	}
	c.paid = paid
	p.known[of] = c
	return true
}
