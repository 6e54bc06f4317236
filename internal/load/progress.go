package load

import (
	"fmt"
	"io"
	"time"
)

// progress prints the counters of a run once per second. Owned by the run's goroutine.
type progress struct {
	w      io.Writer // nil: nothing is printed
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

// tick returns the channel of the times to print, which is nil if nothing is printed.
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
	fmt.Fprintf(p.w, "\r\x1b[K%4.0f s  %d handshakes  %d messages per second  %.1f MB per second  %d errors",
		p.run.now().Seconds(), c.handshakes, d.messages, float64(d.sentBytes+d.receivedBytes)/1e6, c.errors)
}

func (p *progress) end() {
	if p.w == nil {
		return
	}
	p.ticker.Stop()
	fmt.Fprint(p.w, "\r\x1b[K")
}
