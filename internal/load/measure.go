package load

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// measurement is the steps of a run and the samples of each. Owned by the goroutine of Run.
type measurement struct {
	run      *run
	driver   driver
	progress *progress

	began, ended sample
	rssBefore    []int64 // of the processes, at the sessions of -from
	rss          []int64
}

// sample is the values of all clocks and counters at an instant.
type sample struct {
	at     time.Duration
	counts counts
	cpu    []time.Duration // of the processes
	own    time.Duration   // CPU of this process
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

// start starts all sessions. The measured time starts with them, or after the warm-up, or in the mode idle once they are idle.
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
	if r.o.Mode == Storm { // its traffic is to open sessions
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

// settle waits until all sessions of the mode idle have their message back, and then for what the processes do after it.
func (m *measurement) settle(ctx context.Context) {
	m.wait(ctx, openLimit, &m.run.busy)
	m.wait(ctx, settle, nil)
}

// busy returns the counter of sessions that are not done, which ends the run at 0; nil in the mode idle, in which none has work.
func (m *measurement) busy() *atomic.Int64 {
	if m.run.o.Mode == Idle {
		return nil
	}
	return &m.run.busy
}

// open opens count more sessions and waits until each is open or has failed. In a storm it does not wait.
func (m *measurement) open(ctx context.Context, count int) {
	r := m.run
	r.busy.Add(int64(count))
	if r.o.Mode == Storm {
		m.driver.open(count)
		return
	}
	r.opening.Add(int64(count))
	m.driver.open(count)
	// A driver opens maxOpening at once, so this is the longest possible time.
	m.wait(ctx, openLimit*time.Duration(count/maxOpening+1), &r.opening)
}

// wait waits for d, until a counter is 0, or until ctx ends.
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
