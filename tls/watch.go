package tls

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-multierror"
	"go.uber.org/zap"

	"sluice/internal/recovery"
)

// A burst of changes is looked at when there was none for settleTime, but no later than settleLimit
// behind its first: a certificate and its key are written one after the other.
const (
	settleTime  = 100 * time.Millisecond
	settleLimit = 800 * time.Millisecond
)

// A watch refreshes sources when their files change. Owned by the goroutine of run.
type watch struct {
	sources  []*source
	interval time.Duration
	log      *zap.Logger
	panics   recovery.Handler
	reloaded func(result string) // called for each source taken or refused
	onTaken  func()              // called behind a look that took something; nil: nothing is

	events *fsnotify.Watcher // nil: there are none, only the looks
}

// load takes all sources for the first time, and returns what is wrong with them; nil: nothing.
func (w *watch) load() *multierror.Error {
	var problems *multierror.Error
	for _, s := range w.sources {
		if _, err := s.refresh(); err != nil {
			problems = multierror.Append(problems, err)
		}
	}
	return problems
}

// run returns when ctx ends.
func (w *watch) run(ctx context.Context) {
	if len(w.sources) == 0 {
		<-ctx.Done()
		return
	}
	var changes <-chan fsnotify.Event
	var faults <-chan error
	if events, err := fsnotify.NewWatcher(); err != nil {
		w.log.Warn("no file events, files are only looked at each watch_interval", zap.Error(err))
	} else {
		defer events.Close()
		w.events, changes, faults = events, events.Events, events.Errors
	}
	poll := time.NewTicker(w.interval)
	defer poll.Stop()
	settle := time.NewTimer(0) // the first look: what changed between New and the events
	defer settle.Stop()
	w.follow()

	var burst time.Time // when the first change came that was not looked at; zero: there is none
	for {
		select {
		case <-ctx.Done():
			return
		case _, isOpen := <-changes:
			if !isOpen {
				changes = nil
				continue
			}
			now := time.Now()
			if burst.IsZero() {
				burst = now
			}
			settle.Reset(min(settleTime, max(0, burst.Add(settleLimit).Sub(now))))
			continue
		case _, isOpen := <-faults: // events were lost
			if !isOpen {
				faults = nil
				continue
			}
		case <-settle.C:
		case <-poll.C:
			if !burst.IsZero() {
				continue // a look now could find a new key beside the certificate before it
			}
		}
		burst = time.Time{}
		w.panics.Guard(room, w.look)
	}
}

// look refreshes all sources.
func (w *watch) look() {
	hasTaken := false
	for _, s := range w.sources {
		hasTaken = w.refresh(s) || hasTaken
	}
	w.follow()
	if hasTaken && w.onTaken != nil {
		w.onTaken()
	}
}

// refresh refreshes one source. Files at which it panics are refused.
func (w *watch) refresh(s *source) (isTaken bool) {
	err := errPanicked
	w.panics.Guard(room, func() { isTaken, err = s.refresh() })
	switch {
	case err != nil:
		w.reloaded(ReloadRefused)
		w.log.Error("file refused, the one before stays", zap.Strings("files", s.paths), zap.Error(err))
	case isTaken:
		w.reloaded(ReloadApplied)
		w.log.Info("file reloaded", zap.Strings("files", s.paths))
	}
	return isTaken
}

// errPanicked is the error of files at which the gateway panicked.
var errPanicked = errors.New("panic while reading")

// follow asks for the events of the directories that the files are in now, and no others. A file
// that is replaced by rename is another file, and the directory of a symbolic link's destination
// may change without a word about the link: so it is directories that are watched, of both.
func (w *watch) follow() {
	if w.events == nil {
		return
	}
	var directories []string
	for _, s := range w.sources {
		for _, path := range s.paths {
			directories = append(directories, filepath.Dir(path))
			if resolved, err := filepath.EvalSymlinks(path); err == nil {
				directories = append(directories, filepath.Dir(resolved))
			}
		}
	}
	for _, directory := range w.events.WatchList() {
		if !slices.Contains(directories, directory) {
			_ = w.events.Remove(directory) // it may be gone, and its watch with it
		}
	}
	slices.Sort(directories)
	for _, directory := range slices.Compact(directories) {
		if err := w.events.Add(directory); err != nil {
			w.log.Debug("directory not watched", zap.String("directory", directory), zap.Error(err))
		}
	}
}
