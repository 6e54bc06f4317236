package load

import (
	"context"
	"errors"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// openLimit bounds the time from a session's connect to the 101, closeLimit that from its close to the server's. All sessions of a
	// run close at the same time, and over TLS that is many records for a gateway on one core.
	openLimit  = 10 * time.Second
	closeLimit = 10 * time.Second
	// drainLimit bounds the time in which messages in flight, and the closes after them, must arrive once nothing new is sent.
	drainLimit = 15 * time.Second
	// maxOpening bounds the sessions that a driver opens at the same time.
	maxOpening = 64
	// retryPause is the time from a failed connection of a storm to the next one in its place.
	retryPause = 100 * time.Millisecond
	// settle is the time that processes get before their memory is measured: what the handshakes have left may be returned only seconds later.
	settle = 3 * time.Second
)

// stage is the phase of a run. It only increases.
type stage int32

const (
	stageOpen  stage = iota // open
	stageBegin              // send and receive
	stageStop               // send nothing new, close once all messages have arrived
	stageEnd                // close now
)

// driver opens sessions and moves their bytes.
type driver interface {
	// open raises the number of sessions that are to be opened. It does not block.
	open(count int)
	// enter applies the run's new stage to all sessions. It does not wait for them.
	enter()
	// wait blocks until all sessions have ended and their sockets are closed.
	wait() error
}

// run is the state that the sessions and drivers of one load share.
type run struct {
	o         Options
	target    *target
	template  *template
	startedAt time.Time
	recorders []*recorder // one per loop, or one for all streams; the slice is immutable after newDriver

	stage   atomic.Int32
	opening atomic.Int64  // sessions that are to be opened and are neither open nor failed
	busy    atomic.Int64  // sessions that are neither done nor failed
	tickets atomic.Int64  // storm: handshakes that may still be started
	changed chan struct{} // size 1: opening or busy is 0
}

// Run runs the load and blocks until it has ended. The error is an OptionError, or another one if nothing could be measured. The Report
// counts the errors of sessions. progress gets one line per second; nil: none. The end of ctx ends the load early.
func Run(ctx context.Context, o Options, progress io.Writer) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	t, err := resolve(ctx, &o)
	if err != nil {
		return nil, err
	}
	r := &run{o: o, target: t, startedAt: time.Now(), changed: make(chan struct{}, 1)}
	r.tickets.Store(o.Count)
	if o.Count == 0 {
		r.tickets.Store(math.MaxInt64)
	}
	if o.Mode == Echo || o.Mode == Idle {
		r.template = newTemplate(int(o.Size))
	}
	for _, pid := range o.PIDs {
		if _, err := processRSS(pid); err != nil {
			return nil, optionf("-pid %d: %v", pid, err)
		}
	}
	d, err := newDriver(r)
	if err != nil {
		return nil, err
	}
	m := &measurement{run: r, driver: d, progress: newProgress(progress, r)}
	measureErr := m.measure(ctx)
	r.enter(d, stageStop)
	waited := make(chan error, 1)
	go func() { waited <- d.wait() }()
	select {
	case err = <-waited:
	case <-time.After(drainLimit):
		r.enter(d, stageEnd)
		err = <-waited
	}
	m.progress.end()
	if err := errors.Join(measureErr, err); err != nil {
		return nil, err
	}
	return m.report(), nil
}

func (r *run) enter(d driver, s stage) {
	r.stage.Store(int32(s))
	d.enter()
}

func (r *run) current() stage { return stage(r.stage.Load()) }

func (r *run) now() time.Duration { return time.Since(r.startedAt) }

// newTraffic returns the traffic of session id; nil in a storm.
func (r *run) newTraffic(rec *recorder, id int) traffic {
	most := int64(math.MaxInt64)
	if r.o.Count > 0 {
		c := int64(r.o.Connections)
		most = r.o.Count / c
		if int64(id) < r.o.Count%c {
			most++
		}
	}
	switch r.o.Mode {
	case Echo:
		return newEcho(&r.o, r.template, rec, id, most)
	case Idle:
		return newEcho(&r.o, r.template, rec, id, 1)
	case Push:
		size := int64(-1)
		if r.target.isSized {
			size = int64(r.o.Size)
		}
		return &pushTraffic{recorder: rec, most: most, size: size}
	case Soak:
		return newSoak(&r.o, rec, id, most)
	case Storm:
		return nil
	default:
		panic("BUG: mode " + string(r.o.Mode))
	}
}

// opened records that a session is open or has failed.
func (r *run) opened() { r.countDown(&r.opening) }

// finished records that a session is done or has failed.
func (r *run) finished() { r.countDown(&r.busy) }

func (r *run) countDown(n *atomic.Int64) {
	if n.Add(-1) == 0 {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
}

// counts returns the sum of all counters.
func (r *run) counts() (sum counts) {
	for _, rec := range r.recorders {
		sum = sum.add(rec.snapshot())
	}
	return sum
}

// endWarmup returns counts and resets the latencies. Handshakes are reset only in a storm: in other modes all are made before the
// measured time.
func (r *run) endWarmup() (sum counts) {
	for _, rec := range r.recorders {
		reset := []*hdrhistogram.Histogram{rec.latency}
		if r.o.Mode == Storm {
			reset = append(reset, rec.handshake)
		}
		sum = sum.add(rec.snapshot(reset...))
	}
	return sum
}
