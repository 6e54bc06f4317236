package load

import (
	"fmt"
	"io"
	"time"
)

// progress tells once a second how a run goes. Owned by the run's goroutine.
type progress struct {
	w      io.Writer // nil: nobody looks
	run    *run
	ticker *time.Ticker
	last   counts
}

func newProgress(w io.Writer, r *run) *progress {
	p := &progress{w: w, run: r}
	if w != nil {
		p.ticker = time.NewTicker(time.Second)
	}
	return p
}

// tick is when to print; nil, which is never, where nobody looks.
func (p *progress) tick() <-chan time.Time {
	if p.w == nil {
		return nil
	}
	return p.ticker.C
}

func (p *progress) print() {
	c := p.run.counts()
	d := c.sub(p.last)
	p.last = c
	fmt.Fprintf(p.w, "\r\x1b[K%4.0f s  %d handshakes  %d messages a second  %.1f MB a second  %d errors",
		p.run.now().Seconds(), c.handshakes, d.messages, float64(d.sentBytes+d.receivedBytes)/1e6, c.errors)
}

func (p *progress) end() {
	if p.w == nil {
		return
	}
	p.ticker.Stop()
	fmt.Fprint(p.w, "\r\x1b[K")
}
