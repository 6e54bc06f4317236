package filewatch

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"sluice/internal/files"
	"sluice/internal/recovery"
)

// A Source is one or more files that are read together. Owned by one goroutine at a time: that of Apply, then that of Set.Run.
type Source struct {
	Paths []string
	// Globs are patterns of filepath.Glob: events of files that match them are noticed, those of new ones too.
	Globs []string
	// Read reads the contents; nil: they are those of Paths.
	Read func() ([][]byte, error)
	// Apply makes the contents effective, those that Read has returned or one for each path. If it returns an error, what was effective before stays.
	Apply func(contents [][]byte) error

	seen    [sha256.Size]byte // sum of the contents that Apply was last called with
	failure string            // error of the last refresh; empty: it succeeded
}

// errPanicked is the error of files at which Apply panicked.
var errPanicked = errors.New("panic while reading")

// Refresh reads the files and applies them, unless they hold what was applied or refused last. It reports whether they were applied.
// It returns an error only once for each failure, so that a broken file is logged once and not at each round.
func (s *Source) Refresh() (isApplied bool, err error) {
	contents, err := s.read()
	if err != nil {
		return false, s.fail(err)
	}
	sum := sumOf(contents)
	if sum == s.seen {
		return false, nil
	}
	s.seen = sum
	if err := s.Apply(contents); err != nil {
		return false, s.fail(fmt.Errorf("%s: %w", s.Paths[0], err))
	}
	s.failure = ""
	return true, nil
}

// Skip treats contents as applied.
func (s *Source) Skip(contents [][]byte) { s.seen = sumOf(contents) }

// fail returns err, or nil if the last refresh failed with the same error.
func (s *Source) fail(err error) error {
	if s.failure == err.Error() {
		return nil
	}
	s.failure = err.Error()
	return err
}

// A state is what the files of a source hold at one time.
type state struct {
	sum     [sha256.Size]byte
	failure string // why they can't be read; empty: they can
}

// state reads the files. isNew reports whether Refresh would do anything but return false and nil.
func (s *Source) state() (now state, isNew bool) {
	contents, err := s.read()
	if err != nil {
		return state{failure: err.Error()}, err.Error() != s.failure
	}
	now.sum = sumOf(contents)
	return now, now.sum != s.seen
}

func (s *Source) read() ([][]byte, error) {
	if s.Read != nil {
		return s.Read()
	}
	contents := make([][]byte, len(s.Paths))
	for i, path := range s.Paths {
		var err error
		if contents[i], err = ReadFile(path); err != nil {
			return nil, err
		}
	}
	return contents, nil
}

// refresh is Refresh, and returns a panic as an error.
func (s *Source) refresh(room string, panics recovery.Handler) (isApplied bool, err error) {
	err = errPanicked
	panics.Guard(room, func() { isApplied, err = s.Refresh() })
	return isApplied, err
}

// sumOf returns a sum that differs for different contents.
func sumOf(contents [][]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, content := range contents {
		fmt.Fprintf(h, "%d ", len(content))
		h.Write(content)
	}
	h.Sum(sum[:0])
	return sum
}

// MaxFileBytes bounds what is read of a file. Chains of certificates and configurations are far smaller.
const MaxFileBytes = 16 << 20

// ReadFile returns the content of a file. An empty file, and one of over MaxFileBytes, is an error.
func ReadFile(path string) ([]byte, error) {
	content, err := files.Read(path, MaxFileBytes)
	if err == nil && len(content) == 0 {
		err = fmt.Errorf("%s: empty", path)
	}
	return content, err
}
