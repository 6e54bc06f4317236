package filewatch

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"sluice/internal/recovery"
)

// room is the name of this package in calls of a recovery.Handler.
const room = "filewatch"

// A Watcher reports changes of files to sets. It holds an inotify instance as long as a set runs. Its methods may be called from any
// goroutine.
type Watcher struct {
	log    *zap.Logger
	panics recovery.Handler
	open   func() (*fsnotify.Watcher, error)

	// routes is replaced whole. dispatch must not wait for mu: fsnotify may hold a lock of its own, for which the holder of mu waits,
	// until dispatch takes an error.
	routes atomic.Pointer[routes]

	mu sync.Mutex

	followers []*follower       // guarded by mu
	events    *fsnotify.Watcher // nil: none; guarded by mu
	ended     chan struct{}     // closed when dispatch of events has returned; guarded by mu
	failures  map[string]bool   // why events are missing, as logged; guarded by mu
}

// routes are the followers by what an event names. Immutable.
type routes struct {
	entries  map[string][]*follower // by an entry, or a directory that has one or a pattern
	patterns map[string][]pattern   // by the directory
}

// A pattern is that of names in a directory.
type pattern struct {
	name string
	by   *follower
}

// A follower is a set that runs.
type follower struct {
	paths, globs []string
	changes      chan struct{} // of one element: a change that waits says as much as several

	seen interest // guarded by the watcher's mu
}

// NewWatcher returns a Watcher. It opens an inotify instance when the first set runs.
func NewWatcher(log *zap.Logger, panics recovery.Handler) *Watcher {
	w := &Watcher{log: log, panics: panics, open: fsnotify.NewWatcher, failures: map[string]bool{}}
	w.routes.Store(new(routes))
	return w
}

// follow returns a follower of the files at paths and of those that globs match, which has no events before its first update. leave must be
// called after it.
func (w *Watcher) follow(paths, globs []string) *follower {
	f := &follower{paths: paths, globs: globs, changes: make(chan struct{}, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.followers = append(w.followers, f)
	return f
}

// leave ends a follower. The last one closes the inotify instance.
func (w *Watcher) leave(f *follower) {
	w.mu.Lock()
	w.followers = slices.DeleteFunc(w.followers, func(other *follower) bool { return other == f })
	w.arrange()
	events, ended := w.events, w.ended
	if len(w.followers) > 0 || events == nil {
		w.mu.Unlock()
		return
	}
	w.events = nil
	w.mu.Unlock()
	_ = events.Close()
	<-ended
}

// update asks for the events of all entries that decide now what the follower's files are. It is for the follower's goroutine.
func (w *Watcher) update(f *follower) {
	// A symbolic link may be switched after it was followed and before its directory is watched, which no event reports. So the links are
	// followed again until nothing has changed.
	const most = 4
	now := interestOf(f.paths, f.globs)
	for range most {
		if !w.watch(f, now) {
			return
		}
		before := now
		if now = interestOf(f.paths, f.globs); now.equals(before) {
			return
		}
	}
}

// watch makes the events of what a follower looks at reach it. It reports whether there are any events.
func (w *Watcher) watch(f *follower, now interest) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.events == nil && !w.begin() {
		return false
	}
	f.seen = now
	watched := ""
	for _, entry := range slices.Sorted(slices.Values(slices.Concat(now.entries, now.patterns))) {
		directory := filepath.Dir(entry)
		if directory == watched {
			continue
		}
		watched = directory
		// A directory that was replaced has lost its watch, so it is asked for again each time.
		if err := w.events.Add(directory); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.fail("no file events of a directory: its changed files are found only by polling", err, zap.String("directory", directory))
		}
	}
	w.arrange()
	return true
}

// begin opens an inotify instance. The caller holds mu.
func (w *Watcher) begin() bool {
	events, err := w.open()
	if err != nil {
		w.fail("no file events: changed files are found only by polling", err)
		return false
	}
	w.events, w.ended = events, make(chan struct{})
	go w.dispatch(events, w.ended)
	return true
}

// fail logs why events are missing, once for each cause. The caller holds mu.
func (w *Watcher) fail(message string, err error, fields ...zap.Field) {
	if cause := err.Error(); !w.failures[cause] {
		w.failures[cause] = true
		w.log.Warn(message, append(fields, zap.Error(err))...)
	}
}

// arrange makes events reach the followers that have their entries now, and gives up the watches of all other directories. The caller
// holds mu.
func (w *Watcher) arrange() {
	to := routes{entries: map[string][]*follower{}, patterns: map[string][]pattern{}}
	for _, f := range w.followers {
		for _, entry := range f.seen.entries {
			to.add(entry, f)
			to.add(filepath.Dir(entry), f) // an event names it when it is moved or removed itself
		}
		for _, path := range f.seen.patterns {
			directory := filepath.Dir(path)
			to.add(directory, f)
			to.patterns[directory] = append(to.patterns[directory], pattern{filepath.Base(path), f})
		}
	}
	w.routes.Store(&to)
	if w.events == nil {
		return
	}
	for _, directory := range w.events.WatchList() {
		if len(to.entries[directory]) == 0 {
			_ = w.events.Remove(directory) // the directory may be gone, and its watch with it
		}
	}
}

func (r *routes) add(name string, f *follower) {
	if followers := r.entries[name]; len(followers) == 0 || followers[len(followers)-1] != f {
		r.entries[name] = append(followers, f)
	}
}

// wake wakes the followers that an event concerns which names this.
func (r *routes) wake(name string) {
	wake(r.entries[name])
	for _, p := range r.patterns[filepath.Dir(name)] {
		if isMatch, _ := filepath.Match(p.name, filepath.Base(name)); isMatch {
			wake([]*follower{p.by})
		}
	}
}

// dispatch passes events on until they are closed.
func (w *Watcher) dispatch(events *fsnotify.Watcher, ended chan<- struct{}) {
	defer close(ended)
	for {
		select {
		case event, isOpen := <-events.Events:
			if !isOpen {
				return
			}
			w.panics.Guard(room, func() { w.routes.Load().wake(event.Name) })
		case _, isOpen := <-events.Errors:
			if !isOpen {
				return
			}
			w.panics.Guard(room, func() { // events were lost
				for _, followers := range w.routes.Load().entries {
					wake(followers)
				}
			})
		}
	}
}

func wake(followers []*follower) {
	for _, f := range followers {
		select {
		case f.changes <- struct{}{}:
		default:
		}
	}
}
