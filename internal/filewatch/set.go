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
	var paths, globs []string
	for _, source := range s.Sources {
		paths, globs = append(paths, source.Paths...), append(globs, source.Globs...)
	}
	f := w.follow(paths, globs)
	defer w.leave(f)
	s.run(ctx, func() { w.update(f) }, f.changes)
}

// run is Run with the events of one follower. follow asks for those of the directories in which the files are now.
func (s *Set) run(ctx context.Context, follow func(), changes <-chan struct{}) {
	poll := time.NewTicker(s.Interval)
	defer poll.Stop()
	b := burst{set: s, follow: follow, settled: time.NewTimer(0)}
	b.settled.Stop()
	defer b.settled.Stop()
	s.guard(b.look) // the files may have changed since they were first read
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
			b.wait(nil)
		case <-poll.C:
			if b.begun.IsZero() {
				s.guard(b.look)
			}
		case <-b.settled.C:
			if !s.guard(b.settle) {
				b.begun = time.Time{}
			}
		}
	}
}

func (s *Set) guard(f func()) (returned bool) { return s.Panics.Guard(s.Room, f) }

// A burst is changes that follow each other closely: they are applied together. Owned by the goroutine of the set.
type burst struct {
	set     *Set
	follow  func()
	settled *time.Timer // fires when the files are to be read

	begun time.Time // when the first change was noticed; zero: there is none
	found []state   // of the sources, when they were read last within the burst; nil: events have reported the changes
}

// look begins a burst if the files have changed. It finds changes that no event has reported.
func (b *burst) look() {
	b.follow()
	if found, isNew := b.set.states(); isNew {
		b.wait(found)
	}
}

// wait waits for further changes, at most until settleLimit after the first one.
func (b *burst) wait(found []state) {
	now := time.Now()
	if b.begun.IsZero() {
		b.begun = now
	}
	b.found = found
	b.settled.Reset(min(settleTime, max(0, b.begun.Add(settleLimit).Sub(now))))
}

// settle ends the burst with a round, unless the files are still changing.
func (b *burst) settle() {
	if b.found != nil && time.Since(b.begun) < settleLimit {
		// No event has reported this change, so none may report the next one.
		if found, _ := b.set.states(); !slices.Equal(found, b.found) {
			b.wait(found)
			return
		}
	}
	b.begun = time.Time{}
	b.set.round(b.follow)
}

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
