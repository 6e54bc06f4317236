package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// openLimit is what one session may take from its connect to the 101, closeLimit from our close to the server's: all sessions of a
	// run close together, which over TLS are many records for a gateway of one core.
	openLimit  = 10 * time.Second
	closeLimit = 10 * time.Second
	// drainLimit is how long messages on their way, and the closes behind them, get to arrive once nothing new is sent.
	drainLimit = 15 * time.Second
	// maxOpening bounds the sessions that a driver opens at the same time.
	maxOpening = 64
	// retryPause is between a failed connection of a storm and the next one in its place.
	retryPause = 100 * time.Millisecond
	// settle is what processes get before their memory is measured.
	settle = 500 * time.Millisecond
)

// stage is what a run's sessions are to do. It only grows.
type stage int32

const (
	stageOpen  stage = iota // open
	stageBegin              // send and receive
	stageStop               // begin nothing new, close once all has arrived
	stageEnd                // close now
)

// driver opens sessions and moves their bytes.
type driver interface {
	// open raises the number of sessions that are to be opened. It doesn't wait.
	open(count int)
	// enter tells all sessions of the run's new stage.
	enter()
	// wait returns when all sessions are over. Their sockets are closed then.
	wait() error
}

// run is what the sessions and drivers of one load share.
type run struct {
	o         Options
	target    *target
	template  *template
	startedAt time.Time
	recorders []*recorder // one a driver's goroutine; the slice is immutable once the driver is made

	stage   atomic.Int32
	opening atomic.Int64  // sessions asked for that are neither open nor failed
	busy    atomic.Int64  // sessions that are neither done nor failed
	tickets atomic.Int64  // storm: handshakes that may still be started
	changed chan struct{} // size 1: opening or busy has come to 0
}

// Run puts the load on and returns what came of it: an OptionError, another error where nothing could be measured, or a Report with
// errors counted where sessions failed. progress gets a line a second; nil: none. The end of ctx ends the load early.
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

// newTraffic returns what session id does; nil in a storm.
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

// opened says that a session is open or failed.
func (r *run) opened() { r.countDown(&r.opening) }

// finished says that a session is done or failed.
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

// endWarmup is counts, and forgets the latencies so far. Handshakes are forgotten in a storm only: else all come before what is measured.
func (r *run) endWarmup() (sum counts) {
	for _, rec := range r.recorders {
		forget := []*hdrhistogram.Histogram{rec.latency}
		if r.o.Mode == Storm {
			forget = append(forget, rec.handshake)
		}
		sum = sum.add(rec.snapshot(forget...))
	}
	return sum
}

// measurement is the course of a run: its steps, and what is written down at each.
type measurement struct {
	run      *run
	driver   driver
	progress *progress

	began, ended sample
	rssBefore    []int64 // of the processes, at the sessions of -from
	rss          []int64
}

// sample is what all clocks and counters say at an instant.
type sample struct {
	at     time.Duration
	counts counts
	cpu    []time.Duration // of the processes
	own    time.Duration
}

func (m *measurement) measure(ctx context.Context) error {
	r := m.run
	if r.o.From > 0 {
		m.open(ctx, r.o.From)
		r.enter(m.driver, stageBegin)
		m.settle(ctx)
	}
	var err error
	if m.rssBefore, err = m.memory(); err != nil {
		return err
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	m.wait(ctx, r.o.Duration, m.busy())
	if m.ended, err = m.sample(r.counts); err != nil {
		return err
	}
	m.rss, err = m.memory()
	return err
}

// start has all sessions begin, and what is measured begin with them, or after the warm-up, or in the mode idle once they are idle.
func (m *measurement) start(ctx context.Context) (err error) {
	r := m.run
	if r.o.Mode != Storm {
		m.open(ctx, r.o.Connections-r.o.From)
	}
	if r.o.Warmup == 0 && r.o.Mode != Idle {
		if m.began, err = m.sample(r.endWarmup); err != nil {
			return err
		}
	}
	if r.o.Mode == Storm { // opening is what it does
		m.open(ctx, r.o.Connections)
	}
	r.enter(m.driver, stageBegin)
	if r.o.Mode == Idle {
		m.settle(ctx)
	}
	if r.o.Warmup > 0 || r.o.Mode == Idle {
		m.wait(ctx, r.o.Warmup, m.busy())
		m.began, err = m.sample(r.endWarmup)
	}
	return err
}

// settle waits until all sessions of the mode idle have had their message, and a little more for what processes do behind it.
func (m *measurement) settle(ctx context.Context) {
	m.wait(ctx, openLimit, &m.run.busy)
	m.wait(ctx, settle, nil)
}

// busy is the counter of sessions whose end ends the run; those of the mode idle have nothing to do.
func (m *measurement) busy() *atomic.Int64 {
	if m.run.o.Mode == Idle {
		return nil
	}
	return &m.run.busy
}

// open opens so many more sessions and waits until each is open or failed. In a storm there is nothing to wait for.
func (m *measurement) open(ctx context.Context, count int) {
	r := m.run
	r.busy.Add(int64(count))
	if r.o.Mode == Storm {
		m.driver.open(count)
		return
	}
	r.opening.Add(int64(count))
	m.driver.open(count)
	// A driver opens maxOpening at once, so this is the longest that it can take.
	m.wait(ctx, openLimit*time.Duration(count/maxOpening+1), &r.opening)
}

// wait waits for d, for a counter to come to 0 or for the end of ctx.
func (m *measurement) wait(ctx context.Context, d time.Duration, zero *atomic.Int64) {
	end := time.NewTimer(d)
	defer end.Stop()
	for zero == nil || zero.Load() > 0 {
		select {
		case <-m.run.changed:
		case <-m.progress.tick():
			m.progress.print()
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (m *measurement) sample(count func() counts) (s sample, err error) {
	s.at, s.counts = m.run.now(), count()
	for _, pid := range m.run.o.PIDs {
		cpu, err := processCPU(pid)
		if err != nil {
			return s, fmt.Errorf("-pid %d: %w", pid, err)
		}
		s.cpu = append(s.cpu, cpu)
	}
	if len(s.cpu) > 0 {
		s.own, err = processCPU(os.Getpid())
	}
	return s, err
}

func (m *measurement) memory() (rss []int64, err error) {
	for _, pid := range m.run.o.PIDs {
		n, err := processRSS(pid)
		if err != nil {
			return nil, fmt.Errorf("-pid %d: %w", pid, err)
		}
		rss = append(rss, n)
	}
	return rss, nil
}
