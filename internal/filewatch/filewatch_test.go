package filewatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestChangedFileIsAppliedHoweverItIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "1")
	a := watched(t, path)
	write(t, path, "2")
	a.want("2")
	replace(t, path, "3")
	a.want("3")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * settleTime) // a round finds no file
	write(t, path, "4")
	a.want("4")
	write(t, path, "") // truncated
	write(t, path, "5")
	a.want("5")
}

func TestAnotherFileInTheDirectoryDelaysNothing(t *testing.T) {
	directory := t.TempDir()
	path := filepath.Join(directory, "file")
	write(t, path, "1")
	a := watched(t, path)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				_ = os.WriteFile(filepath.Join(directory, "log"), fmt.Append(nil, i), 0o600)
			}
		}
	})
	defer func() {
		close(stop)
		busy.Wait()
	}()
	time.Sleep(2 * settleTime)
	a.wantNone()
	replace(t, path, "2")
	a.want("2")
}

func TestSymbolicLinksAreFollowedOnEveryLevel(t *testing.T) {
	root := t.TempDir()
	for _, revision := range []string{"1", "2", "3"} {
		write(t, filepath.Join(mkdir(t, filepath.Join(root, "store", revision)), "file"), revision)
	}
	link(t, filepath.Join(root, "store", "1"), filepath.Join(root, "current")) // absolute
	link(t, "../current", filepath.Join(mkdir(t, filepath.Join(root, "etc")), "parent"))
	link(t, "etc/../etc/parent/file", filepath.Join(root, "link"))
	a := watched(t, filepath.Join(root, "link"))

	replace(t, filepath.Join(root, "store", "1", "file"), "in place")
	a.want("in place")
	link(t, filepath.Join(root, "store", "2"), filepath.Join(root, "current"))
	a.want("2")
	replace(t, filepath.Join(root, "store", "2", "file"), "in place again")
	a.want("in place again")
	link(t, "../store/3", filepath.Join(root, "etc", "parent"))
	a.want("3")
	write(t, filepath.Join(root, "other"), "4")
	link(t, "other", filepath.Join(root, "link"))
	a.want("4")
}

func TestVolumeOfKubernetesIsFollowed(t *testing.T) {
	volume := t.TempDir()
	for _, revision := range []string{"1", "2", "3"} {
		directory := mkdir(t, filepath.Join(volume, ".."+revision))
		write(t, filepath.Join(directory, "tls.crt"), revision+" crt")
		write(t, filepath.Join(directory, "tls.key"), revision+" key")
	}
	link(t, "..1", filepath.Join(volume, "..data"))
	link(t, "..data/tls.crt", filepath.Join(volume, "tls.crt"))
	link(t, "..data/tls.key", filepath.Join(volume, "tls.key"))
	a := watched(t, filepath.Join(volume, "tls.crt"), filepath.Join(volume, "tls.key"))
	for _, revision := range []string{"2", "3"} {
		link(t, ".."+revision, filepath.Join(volume, "..data"))
		a.want(revision + " crt+" + revision + " key")
	}
}

func TestReplacedDirectoryIsFollowed(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(mkdir(t, filepath.Join(root, "etc")), "file")
	write(t, path, "1")
	write(t, filepath.Join(mkdir(t, filepath.Join(root, "new")), "file"), "2")
	a := watched(t, path)
	rename(t, filepath.Join(root, "etc"), filepath.Join(root, "old"))
	rename(t, filepath.Join(root, "new"), filepath.Join(root, "etc"))
	a.want("2")
	write(t, path, "3")
	a.want("3")
	// Long enough gone that a round falls into it.
	if err := os.RemoveAll(filepath.Join(root, "etc")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * settleTime)
	mkdir(t, filepath.Join(root, "etc"))
	write(t, path, "4")
	a.want("4")
}

func TestAllSetsShareOneInstanceAndTheLastOneClosesIt(t *testing.T) {
	directory := t.TempDir()
	var opened atomic.Int64
	w := NewWatcher(zap.NewNop(), nil)
	w.open = func() (*fsnotify.Watcher, error) {
		opened.Add(1)
		return fsnotify.NewWatcher()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var all []*applied
	const count = 20
	for i := range count {
		path := filepath.Join(directory, fmt.Sprint(i))
		write(t, path, "1")
		s, a := newSet(t, time.Hour, path)
		running.Go(func() { s.Run(ctx, w) })
		all = append(all, a)
	}
	w.waitForEntries(t, count)
	write(t, filepath.Join(directory, "7"), "2")
	all[7].want("2")
	for i, a := range all {
		if i != 7 {
			a.wantNone()
		}
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d instances were opened, want 1", n)
	}
	cancel()
	running.Wait()
	if w.events != nil {
		t.Error("an instance is open though no set runs")
	}
	if n := len(w.routes.Load().entries); n > 0 {
		t.Errorf("%d routes lead to sets that have ended", n)
	}
}

func TestPollingFindsChangesWithoutAnInstance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "1")
	core, lines := observer.New(zapcore.InfoLevel)
	w := NewWatcher(zap.New(core), nil)
	var isFree atomic.Bool
	w.open = func() (*fsnotify.Watcher, error) {
		if isFree.Load() {
			return fsnotify.NewWatcher()
		}
		return nil, os.NewSyscallError("inotify_init1", syscall.EMFILE)
	}
	s, a := newSet(t, 10*time.Millisecond, path)
	run(t, s, w)
	for _, text := range []string{"2", "3"} {
		write(t, path, text)
		a.want(text)
	}
	if n := lines.Len(); n != 1 || lines.All()[0].Level != zapcore.WarnLevel {
		t.Errorf("%d lines tell of it, want 1 warning: %v", n, lines.All())
	}
	isFree.Store(true)
	w.waitForEntries(t, 1)
	write(t, path, "4")
	a.want("4")
}

// The kernel has no watch left for one directory.
func TestPollingFindsChangesWithoutAWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "1")
	core, lines := observer.New(zapcore.InfoLevel)
	w := NewWatcher(zap.New(core), nil)
	w.open = func() (*fsnotify.Watcher, error) {
		events, err := fsnotify.NewWatcher()
		if err == nil {
			err = events.Close() // every Add fails from now on
		}
		return events, err
	}
	s, a := newSet(t, 10*time.Millisecond, path)
	run(t, s, w)
	write(t, path, "2")
	a.want("2")
	if n := lines.Len(); n != 1 {
		t.Errorf("%d lines tell of it, want 1: %v", n, lines.All())
	}
}

func TestAPanicRefusesTheFilesAndTheWatchGoesOn(t *testing.T) {
	directory := t.TempDir()
	paths := []string{filepath.Join(directory, "1"), filepath.Join(directory, "2")}
	rooms, contents, refused := make(chan string, 100), make(chan string, 100), make(chan error, 100)
	s := &Set{Interval: time.Hour, Room: "test", Panics: func(room string, _ any, _ []byte) { rooms <- room },
		Refreshed: func(_ *Source, err error) {
			if err != nil {
				refused <- err
			}
		}}
	for _, path := range paths {
		write(t, path, "good")
		source := &Source{Paths: []string{path}, Apply: func(read [][]byte) error {
			if string(read[0]) == "bad" {
				panic("broken")
			}
			contents <- string(read[0])
			return nil
		}}
		skip(t, source)
		s.Sources = append(s.Sources, source)
	}
	w := NewWatcher(zap.NewNop(), s.Panics)
	run(t, s, w)
	w.waitForEntries(t, 1)
	a := &applied{t: t, contents: contents, refused: refused}
	write(t, paths[0], "bad")
	write(t, paths[1], "better")
	a.want("better")
	eventually(t, "a refusal", func() bool { return len(refused) > 0 })
	if err := <-refused; !errors.Is(err, errPanicked) {
		t.Errorf("refused with %v, want %v", err, errPanicked)
	}
	if room := <-rooms; room != "test" {
		t.Errorf("the panic was told of the room %s, want test", room)
	}
	write(t, paths[0], "mended")
	a.want("mended")
}

func TestFilesThatComeToMatchAGlobAreNoticed(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a", "b"} {
		mkdir(t, filepath.Join(root, name))
	}
	glob := filepath.Join(root, "*", "x*.toml")
	matches := make(chan string, 100)
	read := func() ([][]byte, error) {
		paths, err := filepath.Glob(glob)
		return [][]byte{[]byte(strings.ReplaceAll(strings.Join(paths, " "), root, ""))}, err
	}
	source := &Source{Globs: []string{glob}, Read: read, Apply: func(contents [][]byte) error {
		matches <- string(contents[0])
		return nil
	}}
	skip(t, source)
	w := NewWatcher(zap.NewNop(), nil)
	run(t, &Set{Sources: []*Source{source}, Interval: time.Hour, Room: "test", Refreshed: func(*Source, error) {}}, w)
	w.waitForEntries(t, 1)
	a := &applied{t: t, contents: matches}
	write(t, filepath.Join(root, "a", "x1.toml"), "")
	a.want("/a/x1.toml")
	write(t, filepath.Join(root, "b", "y.toml"), "")
	mkdir(t, filepath.Join(root, "c"))
	rename(t, filepath.Join(root, "b", "y.toml"), filepath.Join(root, "b", "x2.toml"))
	a.want("/a/x1.toml /b/x2.toml")
	write(t, filepath.Join(root, "c", "x3.toml"), "")
	a.want("/a/x1.toml /b/x2.toml /c/x3.toml")
	rename(t, filepath.Join(root, "a", "x1.toml"), filepath.Join(root, "a", "z"))
	a.want("/b/x2.toml /c/x3.toml")
}
