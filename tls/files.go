package tls

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxFileBytes bounds what is read of a file: far above any chain of certificates.
const maxFileBytes = 4 << 20

// A source is what is made of some files: they are read together, and taken whole or not at all.
// Owned by one goroutine at a time: New's, then Run's.
type source struct {
	paths []string
	// take makes the contents effective, one a path; where it fails, what was there stays.
	take func(contents [][]byte) error

	seen    [sha256.Size]byte // of the contents that take was last given
	failure string            // the last refresh failed by this; empty: it did not
}

// refresh reads the files, and takes them if they are not what was taken last. It returns whether
// something was taken, and the error of a failure that is not the same as the last time's: so that
// a broken file is told of once, and not at each look.
func (s *source) refresh() (isTaken bool, err error) {
	contents := make([][]byte, len(s.paths))
	for i, path := range s.paths {
		if contents[i], err = readFile(path); err != nil {
			return false, s.fail(err)
		}
	}
	sum := sumOf(contents)
	if sum == s.seen {
		return false, nil
	}
	s.seen = sum
	if err := s.take(contents); err != nil {
		return false, s.fail(fmt.Errorf("%s: %w", s.paths[0], err))
	}
	s.failure = ""
	return true, nil
}

// fail returns err, or nil if the last refresh failed by the same.
func (s *source) fail(err error) error {
	if s.failure == err.Error() {
		return nil
	}
	s.failure = err.Error()
	return err
}

// sumOf tells contents apart.
func sumOf(contents [][]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, content := range contents {
		fmt.Fprintf(h, "%d ", len(content))
		h.Write(content)
	}
	h.Sum(sum[:0])
	return sum
}

// readFile returns the content of a file that is not larger than maxFileBytes.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var content bytes.Buffer
	n, err := content.ReadFrom(io.LimitReader(file, maxFileBytes+1))
	switch {
	case err != nil:
		return nil, err
	case n > maxFileBytes:
		return nil, fmt.Errorf("%s: over %d bytes", path, maxFileBytes)
	case n == 0:
		return nil, fmt.Errorf("%s: empty", path)
	}
	return content.Bytes(), nil
}

// reasonOf returns err without the path, which is told beside it.
func reasonOf(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return err.Error()
}
