package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"sluice/internal/recovery"
)

// A watcher reloads a configuration when its file changes, as long as it is set to. Its methods are for one goroutine at a time.
type watcher struct {
	path    string
	changed func() // called by the watcher's goroutine
	log     *zap.Logger
	panics  recovery.Handler

	stop  chan struct{} // nil: it doesn't watch
	ended chan struct{}
}

// settleTime is how long a file must have been left alone before it is read: whoever writes it may not be through.
const settleTime = 200 * time.Millisecond

// set has the watcher watch, or not. changed may be the caller: nothing is waited for.
func (w *watcher) set(isOn bool) {
	switch {
	case isOn == (w.stop != nil):
	case isOn:
		w.begin()
	default:
		close(w.stop)
		w.stop = nil
	}
}

// wait waits for what is under way behind the last set, which was to false.
func (w *watcher) wait() {
	if w.ended != nil {
		<-w.ended
	}
}

// begin watches the file's directory: a file that is replaced, as editors and Kubernetes do, is another file.
func (w *watcher) begin() {
	events, err := fsnotify.NewWatcher()
	if err == nil {
		err = events.Add(filepath.Dir(w.path))
	}
	if err != nil {
		if events != nil {
			_ = events.Close()
		}
		w.log.Error("the configuration isn't watched", zap.Error(err))
		return
	}
	before := w.ended
	w.stop, w.ended = make(chan struct{}), make(chan struct{})
	go w.run(events, w.content(), w.stop, before, w.ended)
}

// run runs until stop. seen is the content that is in use. before is when the run before this one has ended; nil: there was none.
func (w *watcher) run(events *fsnotify.Watcher, seen [sha256.Size]byte, stop, before, ended chan struct{}) {
	defer close(ended)
	defer events.Close()
	if before != nil {
		<-before
	}
	settle := time.NewTimer(settleTime) // the file may have changed before there were events
	defer settle.Stop()
	for {
		select {
		case <-stop:
			return
		case <-events.Events:
			settle.Reset(settleTime)
		case <-events.Errors: // events were lost
			settle.Reset(settleTime)
		case <-settle.C:
			w.panics.Guard(room, func() {
				if content := w.content(); content != seen && content != [sha256.Size]byte{} {
					seen = content
					w.changed()
				}
			})
		}
	}
}

// content returns a sum of the file's content; zero: there is none now, as between two versions of it.
func (w *watcher) content() [sha256.Size]byte {
	text, err := os.ReadFile(w.path)
	if err != nil {
		return [sha256.Size]byte{}
	}
	return sha256.Sum256(text)
}
