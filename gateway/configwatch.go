package gateway

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"sluice/internal/config"
	"sluice/internal/filewatch"
	"sluice/internal/recovery"
)

// A configWatch reloads a configuration when a file changes that it was read from, while it is on. Its methods are for one goroutine at a
// time.
type configWatch struct {
	interval time.Duration
	changed  func()             // called by a goroutine of the watch
	files    *filewatch.Watcher // nil: there are no events
	log      *zap.Logger
	panics   recovery.Handler

	origin *config.Origin // nil: there is no file, and it is never on
	stop   func()         // nil: the watch is off
	ended  chan struct{}  // closed when the last run has returned; nil: there was none
}

// configInterval is the time between two looks at the configuration, for changes that no event reports.
const configInterval = 5 * time.Second

// follow makes the watch look at the files of a configuration that was just read, in use or refused: a change is what differs from what was
// read.
func (w *configWatch) follow(origin *config.Origin) {
	w.origin = origin
	if w.stop != nil {
		w.set(false)
		w.set(true)
	}
}

// set turns the watch on or off. It doesn't wait, since changed may be the caller.
func (w *configWatch) set(isOn bool) {
	isOn = isOn && w.origin != nil
	switch {
	case isOn == (w.stop != nil):
	case isOn:
		ctx, stop := context.WithCancel(context.Background())
		before := w.ended
		w.stop, w.ended = stop, make(chan struct{})
		go w.run(ctx, w.newSource(), before, w.ended)
	default:
		w.stop()
		w.stop = nil
	}
}

// newSource returns the files of the configuration as they were read.
func (w *configWatch) newSource() *filewatch.Source {
	source := &filewatch.Source{Paths: w.origin.Paths(), Globs: w.origin.Globs, Read: w.origin.Read, Apply: func([][]byte) error {
		w.changed()
		return nil
	}}
	source.Skip(w.origin.Contents())
	return source
}

// wait waits until the run has returned that the last call of set has stopped.
func (w *configWatch) wait() {
	if w.ended != nil {
		<-w.ended
	}
}

// run runs until ctx ends. before is closed when the previous run has returned, and nil if there was none.
func (w *configWatch) run(ctx context.Context, source *filewatch.Source, before <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	if before != nil {
		<-before
	}
	set := filewatch.Set{
		Sources:  []*filewatch.Source{source},
		Interval: w.interval,
		Room:     room,
		Panics:   w.panics,
		Refreshed: func(_ *filewatch.Source, err error) {
			// A file that is missing may be between two versions.
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				w.log.Warn("the configuration can't be read", zap.Error(err))
			}
		},
	}
	set.Run(ctx, w.files)
}
