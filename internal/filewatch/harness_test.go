package filewatch

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

// patience is far more than anything here takes.
const patience = 30 * time.Second

// write replaces a file in place, as a program that truncates it does.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace replaces a file by rename, as most programs do.
func replace(t testing.TB, path, text string) {
	t.Helper()
	write(t, path+".new", text)
	rename(t, path+".new", path)
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t testing.TB, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// link makes a symbolic link, or switches one in one step.
func link(t testing.TB, destination, path string) {
	t.Helper()
	if err := os.Symlink(destination, path+".new"); err != nil {
		t.Fatal(err)
	}
	rename(t, path+".new", path)
}

// An applied is what a test's set does.
type applied struct {
	t        testing.TB
	contents chan string // of the source's files, joined by "+"
	refused  chan error
}

// newSet returns a set of one source, which refuses contents that don't begin with the same word, as a key refuses a certificate that is
// not its own. The present contents count as applied.
func newSet(t testing.TB, interval time.Duration, paths ...string) (*Set, *applied) {
	t.Helper()
	a := &applied{t: t, contents: make(chan string, 100), refused: make(chan error, 100)}
	source := &Source{Paths: paths, Apply: func(contents [][]byte) error {
		var texts []string
		for _, content := range contents {
			texts = append(texts, string(content))
		}
		first, _, _ := strings.Cut(texts[0], " ")
		for _, text := range texts {
			if word, _, _ := strings.Cut(text, " "); word != first {
				return errors.New("no pair: " + strings.Join(texts, "+"))
			}
		}
		a.contents <- strings.Join(texts, "+")
		return nil
	}}
	skip(t, source)
	return &Set{Sources: []*Source{source}, Interval: interval, Room: "test", Refreshed: func(_ *Source, err error) {
		if err != nil {
			a.refused <- err
		}
	}}, a
}

// skip treats the present contents as applied.
func skip(t testing.TB, source *Source) {
	t.Helper()
	contents, err := source.read()
	if err != nil {
		t.Fatal(err)
	}
	source.Skip(contents)
}

// run runs the set until the test ends.
func run(t testing.TB, s *Set, w *Watcher) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx, w) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// watched runs a set that has events and practically no polls, and returns when its directories are watched.
func watched(t testing.TB, paths ...string) *applied {
	t.Helper()
	s, a := newSet(t, time.Hour, paths...)
	w := NewWatcher(zap.NewNop(), nil)
	run(t, s, w)
	w.waitForEntries(t, 1)
	return a
}

// waitForEntries waits until so many followers have looked for their files.
func (w *Watcher) waitForEntries(t testing.TB, count int) {
	t.Helper()
	eventually(t, "the set has looked for its files", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		ready := 0
		for _, f := range w.followers {
			if len(f.seen.entries) > 0 {
				ready++
			}
		}
		return ready == count
	})
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// want waits for contents, past others: a machine that stalls may let a round fall between two changes.
func (a *applied) want(contents string) {
	a.t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case got := <-a.contents:
			if got == contents {
				return
			}
		case <-deadline:
			a.t.Fatalf("%q wasn't applied", contents)
		}
	}
}

// wantNone fails the test if anything was applied or refused.
func (a *applied) wantNone() {
	a.t.Helper()
	select {
	case got := <-a.contents:
		a.t.Fatalf("%q was applied", got)
	case err := <-a.refused:
		a.t.Fatalf("refused: %v", err)
	default:
	}
}
