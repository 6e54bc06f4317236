package filewatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
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
	source.Skip()
	return &Set{Sources: []*Source{source}, Interval: interval, Room: "test", Refreshed: func(_ *Source, err error) {
		if err != nil {
			a.refused <- err
		}
	}}, a
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
			if len(f.entries) > 0 {
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
	if n := len(*w.routes.Load()); n > 0 {
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
		source.Skip()
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

// A bubble is a set whose time is virtual. Its events are the test's.
type bubble struct {
	*applied
	changes chan struct{}
}

// inBubble runs a set over files in virtual time, and then test.
func inBubble(t *testing.T, interval time.Duration, texts []string, test func(b *bubble, paths []string)) {
	directory := t.TempDir()
	var paths []string
	for i, text := range texts {
		paths = append(paths, filepath.Join(directory, fmt.Sprint(i)))
		write(t, paths[i], text)
	}
	synctest.Test(t, func(t *testing.T) {
		s, a := newSet(t, interval, paths...)
		b := &bubble{applied: a, changes: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.run(ctx, func() {}, b.changes) })
		defer running.Wait()
		defer cancel()
		synctest.Wait()
		test(b, paths)
	})
}

func TestChangesAreAppliedWhenTheyHaveSettled(t *testing.T) {
	inBubble(t, time.Hour, []string{"0"}, func(b *bubble, paths []string) {
		for i := range 4 {
			write(b.t, paths[0], fmt.Sprint("step ", i))
			b.changes <- struct{}{}
			time.Sleep(settleTime - time.Millisecond)
			b.wantNone()
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		b.want("step 3")
		b.wantNone()
	})
}

func TestAFileThatNeverSettlesIsAppliedAtTheLimit(t *testing.T) {
	inBubble(t, time.Hour, []string{"0"}, func(b *bubble, paths []string) {
		started := time.Now()
		for i := 1; len(b.contents) == 0; i++ {
			write(b.t, paths[0], fmt.Sprint(i))
			b.changes <- struct{}{}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(started); took > settleLimit+100*time.Millisecond {
			b.t.Errorf("the file was applied after %v, want at most %v", took, settleLimit)
		}
	})
}

func TestAnEventWithoutANewContentAppliesNothing(t *testing.T) {
	inBubble(t, time.Hour, []string{"0"}, func(b *bubble, paths []string) {
		write(b.t, paths[0], "0")
		b.changes <- struct{}{}
		time.Sleep(2 * settleLimit)
		synctest.Wait()
		b.wantNone()
	})
}

func TestAPairIsAppliedTogetherWhicheverFileComesFirst(t *testing.T) {
	for _, test := range []struct {
		name     string
		interval time.Duration
		isEvent  bool
	}{
		{"events", time.Hour, true},
		{"polling", 50 * time.Millisecond, false},
		{"polling seldom", time.Minute, false},
		{"both", 50 * time.Millisecond, true},
	} {
		for _, order := range [][]int{{0, 1}, {1, 0}} {
			t.Run(fmt.Sprint(test.name, " ", order), func(t *testing.T) {
				inBubble(t, test.interval, []string{"old", "old"}, func(b *bubble, paths []string) {
					// Polls fall before, between and after the two.
					for offset := range 10 {
						time.Sleep(time.Duration(offset) * 7 * time.Millisecond)
						word := fmt.Sprint("new", offset)
						for i, file := range order {
							if i > 0 {
								time.Sleep(settleTime - 60*time.Millisecond)
							}
							write(b.t, paths[file], word)
							if test.isEvent {
								b.changes <- struct{}{}
							}
						}
						time.Sleep(test.interval + settleLimit)
						synctest.Wait()
						if test.isEvent || test.interval < time.Minute {
							b.wantOnly(word + "+" + word)
						} else {
							b.want(word + "+" + word)
						}
					}
					b.wantNone()
				})
			})
		}
	}
}

// wantOnly expects contents and nothing else.
func (a *applied) wantOnly(contents string) {
	a.t.Helper()
	select {
	case got := <-a.contents:
		if got != contents {
			a.t.Fatalf("%q was applied, want %q", got, contents)
		}
	default:
		a.t.Fatalf("nothing was applied, want %q", contents)
	}
	a.wantNone()
}

func TestAPairThatStaysTornIsRefusedOnce(t *testing.T) {
	inBubble(t, 50*time.Millisecond, []string{"old", "old"}, func(b *bubble, paths []string) {
		write(b.t, paths[0], "new")
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(b.refused) != 1 || len(b.contents) != 0 {
			b.t.Errorf("%d refusals and %d applied, want 1 and 0", len(b.refused), len(b.contents))
		}
		<-b.refused
		write(b.t, paths[1], "new")
		time.Sleep(time.Second)
		synctest.Wait()
		b.wantOnly("new+new")
	})
}

func TestEachFailureIsReportedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	applied := ""
	s := &Source{Paths: []string{path}, Apply: func(contents [][]byte) error {
		if string(contents[0]) == "bad" {
			return errors.New("it is bad")
		}
		applied = string(contents[0])
		return nil
	}}
	for _, step := range []struct {
		content    string // "": no file
		isApplied  bool
		isReported bool
		applied    string
	}{
		{"good", true, false, "good"},
		{"good", false, false, "good"},
		{"bad", false, true, "good"},
		{"bad", false, false, "good"},
		{"", false, true, "good"},
		{"", false, false, "good"},
		{"good", true, false, "good"},
		{"better", true, false, "better"},
		{"bad", false, true, "better"},
	} {
		if _ = os.Remove(path); step.content != "" {
			write(t, path, step.content)
		}
		isApplied, err := s.Refresh()
		if isApplied != step.isApplied || (err != nil) != step.isReported || applied != step.applied {
			t.Errorf("with %q: applied %v, error %v, now %q; want %v, an error: %v, %q",
				step.content, isApplied, err, applied, step.isApplied, step.isReported, step.applied)
		}
	}
}

func TestAFileIsReadUpToABound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	write(t, path, "x")
	if err := os.Truncate(path, MaxFileBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), fmt.Sprint(MaxFileBytes)) {
		t.Errorf("ReadFile of a byte too many = %v, want an error with the bound", err)
	}
}

func TestEntriesAreTheLinksOnTheWayAndTheFile(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(root, name) }
	mkdir(t, at("real/deep"))
	write(t, at("real/deep/file"), "x")
	link(t, "real", at("a"))
	link(t, at("a/deep"), at("b"))
	link(t, "loop", at("loop"))
	t.Chdir(root)
	for _, test := range []struct {
		path string
		want []string
	}{
		{"real/deep/file", []string{"real/deep/file"}},
		{"./b/file", []string{"a", "b", "real/deep/file"}},
		{at("a/deep/../deep/file"), []string{"a", "real/deep/file"}},
		{"b/../../a/deep/absent/file", []string{"a", "b", "real/deep/absent"}},
		{"loop", []string{"loop"}},
		{"absent", []string{"absent"}},
	} {
		got := entriesOf([]string{test.path})
		for i, entry := range got {
			got[i], _ = filepath.Rel(root, entry)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("entries of %s: %q, want %q", test.path, got, test.want)
		}
	}
}
