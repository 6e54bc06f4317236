package gateway

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"sluice/internal/filewatch"
	"sluice/internal/recovery"
)

// A configWatch reloads a configuration when its file changes, while it is on. Its methods are for one goroutine at a time.
type configWatch struct {
	path     string // "": there is no file, and it is never on
	interval time.Duration
	changed  func()             // called by a goroutine of the watch
	files    *filewatch.Watcher // nil: there are no events
	log      *zap.Logger
	panics   recovery.Handler

	source *filewatch.Source // as read has found it; owned by run while the watch is on
	stop   func()            // nil: the watch is off
	ended  chan struct{}     // closed when the last run has returned; nil: there was none
}

// configInterval is the time between two looks at the configuration, for changes that no event reports.
const configInterval = 5 * time.Second

// read treats what the file holds now as the configuration in use: it is for the moment before the file is read. While the watch is on,
// it does nothing.
func (w *configWatch) read() {
	if w.stop != nil {
		return
	}
	w.source = &filewatch.Source{Paths: []string{w.path}, Apply: func([][]byte) error {
		w.changed()
		return nil
	}}
	w.source.Skip()
}

// set turns the watch on or off. It doesn't wait, since changed may be the caller.
func (w *configWatch) set(isOn bool) {
	switch {
	case isOn == (w.stop != nil):
	case isOn:
		ctx, stop := context.WithCancel(context.Background())
		before := w.ended
		w.stop, w.ended = stop, make(chan struct{})
		go w.run(ctx, w.source, before, w.ended)
	default:
		w.stop()
		w.stop = nil
	}
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
