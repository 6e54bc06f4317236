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
	"testing"
	"testing/synctest"
	"time"
)

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

// Faults B7.
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
