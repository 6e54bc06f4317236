package load

import (
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// maxLatency is the largest value of a histogram. A longer latency counts as this one.
const maxLatency = time.Minute

// recorder counts the events of one driver's sessions. A driver locks it for a whole turn: all methods but snapshot are called with mu
// held.
type recorder struct {
	mu sync.Mutex

	// Guarded by mu.
	counts
	latency   *hdrhistogram.Histogram // of messages
	handshake *hdrhistogram.Histogram // connect to 101
	faults    map[string]*FaultCount
}

// counts are counters that only grow.
type counts struct {
	messages, sentBytes, receivedBytes, handshakes, errors int64
}

func (c counts) add(d counts) counts {
	return counts{c.messages + d.messages, c.sentBytes + d.sentBytes, c.receivedBytes + d.receivedBytes, c.handshakes + d.handshakes, c.errors + d.errors}
}

func (c counts) sub(d counts) counts {
	return counts{c.messages - d.messages, c.sentBytes - d.sentBytes, c.receivedBytes - d.receivedBytes, c.handshakes - d.handshakes, c.errors - d.errors}
}

// FaultCount counts the errors of one kind, and has the text of the first one.
type FaultCount struct {
	Count int64  `json:"count"`
	First string `json:"first"`
}

// A fault is an error of a session. Kinds are few and documented: docs/benchmarks.md.
type fault struct{ kind, text string }

func (f *fault) Error() string { return f.kind + ": " + f.text }

func faultf(kind, format string, args ...any) *fault {
	return &fault{kind, fmt.Sprintf(format, args...)}
}

func newRecorder() *recorder {
	return &recorder{latency: newHistogram(), handshake: newHistogram(), faults: map[string]*FaultCount{}}
}

// newHistogram returns a histogram of nanoseconds with a resolution of 0.1 %, from 100 ns on.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(100, int64(maxLatency), 3)
}

// record records a latency. It is never negative, since both instants are of the monotonic clock.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	if err := h.RecordValue(int64(min(d, maxLatency))); err != nil {
		panic("BUG: " + err.Error())
	}
}

func (r *recorder) fail(f *fault, count int64) {
	r.errors += count
	if r.faults[f.kind] == nil {
		r.faults[f.kind] = &FaultCount{First: f.text}
	}
	r.faults[f.kind].Count += count
}

// snapshot returns the counters and resets the given histograms.
func (r *recorder) snapshot(reset ...*hdrhistogram.Histogram) counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range reset {
		h.Reset()
	}
	return r.counts
}
