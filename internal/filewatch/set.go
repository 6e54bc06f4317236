package filewatch

import (
	"context"
	"slices"
	"time"

	"sluice/internal/recovery"
)

// Files are read after nothing has changed for settleTime: a program may write a file in several steps, and a certificate and its key one
// after the other. A file that changes without a pause is read settleLimit after its first change.
const (
	settleTime  = 200 * time.Millisecond
	settleLimit = time.Second
)

// A Set is sources that are watched together. Owned by the goroutine of Run.
type Set struct {
	Sources []*Source
	// Interval is the time between two looks at the files, for changes that no event reports.
	Interval time.Duration

	// Room is the name of the user's package in calls of Panics, which is called for each panic of a round. The next round runs
	// nevertheless. nil: panics are not recovered.
	Room   string
	Panics recovery.Handler

	// Refreshed is called for each source that was applied, with nil, or refused, with the error.
	Refreshed func(s *Source, err error)
	// Applied is called after a round that applied a source; nil: nothing is called.
	Applied func()
}

// Run applies changed files until ctx ends. It uses the events of w; if w is nil, it uses only Interval.
func (s *Set) Run(ctx context.Context, w *Watcher) {
	if len(s.Sources) == 0 {
		<-ctx.Done()
		return
	}
	if w == nil {
		s.run(ctx, func() {}, nil)
		return
	}
	var paths []string
	for _, source := range s.Sources {
		paths = append(paths, source.Paths...)
	}
	f := w.follow(paths)
	defer w.leave(f)
	s.run(ctx, func() { w.update(f) }, f.changes)
}

// run is Run with the events of one follower. follow makes them those of the directories in which the files are now.
func (s *Set) run(ctx context.Context, follow func(), changes <-chan struct{}) {
	poll := time.NewTicker(s.Interval)
	defer poll.Stop()
	settled := time.NewTimer(0)
	settled.Stop()
	defer settled.Stop()

	var burst time.Time // of the first change that no round has seen; zero: there is none
	var last []state    // of the sources, as the last look within the burst found them; nil: it was reported by events only
	wait := func(found []state) {
		now := time.Now()
		if burst.IsZero() {
			burst = now
		}
		last = found
		settled.Reset(min(settleTime, max(0, burst.Add(settleLimit).Sub(now))))
	}
	look := func() {
		follow()
		if found, isNew := s.states(); isNew {
			wait(found)
		}
	}

	settle := func() {
		if last != nil && time.Since(burst) < settleLimit {
			// No event has reported this change, so none may report the next one.
			if found, _ := s.states(); !slices.Equal(found, last) {
				wait(found)
				return
			}
		}
		burst = time.Time{}
		s.round(follow)
	}

	s.guard(look) // the files may have changed since they were first read
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
			wait(nil)
		case <-poll.C:
			if burst.IsZero() {
				s.guard(look)
			}
		case <-settled.C:
			if !s.guard(settle) {
				burst = time.Time{}
			}
		}
	}
}

func (s *Set) guard(f func()) (returned bool) { return s.Panics.Guard(s.Room, f) }

// states returns the state of each source, and reports whether any differs from what it was at the last refresh.
func (s *Set) states() (found []state, isNew bool) {
	for _, source := range s.Sources {
		now, isChanged := source.state()
		found, isNew = append(found, now), isNew || isChanged
	}
	return found, isNew
}

// round applies the sources that have changed.
func (s *Set) round(follow func()) {
	follow() // before the files are read: a change after that is reported
	hasApplied := false
	for _, source := range s.Sources {
		isApplied, err := source.refresh(s.Room, s.Panics)
		if isApplied || err != nil {
			s.Refreshed(source, err)
		}
		hasApplied = hasApplied || isApplied
	}
	if hasApplied && s.Applied != nil {
		s.Applied()
	}
}
