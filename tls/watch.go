package tls

import (
	"errors"
	"io/fs"
	"time"

	"github.com/hashicorp/go-multierror"
	"go.uber.org/zap"

	"sluice/internal/filewatch"
)

// newSet returns the set of a Server's or a Client's files. applied is called after a round that has applied some; it may be nil.
func newSet(sources []*filewatch.Source, interval time.Duration, options Options, applied func()) filewatch.Set {
	log := orNop(options.Log)
	return filewatch.Set{
		Sources:  sources,
		Interval: interval,
		Room:     room,
		Panics:   options.Panics,
		Applied:  applied,
		Refreshed: func(s *filewatch.Source, err error) {
			if err != nil {
				options.reloaded(ReloadRefused)
				log.Error("file refused, the one before stays", zap.Strings("files", s.Paths), zap.Error(err))
				return
			}
			options.reloaded(ReloadApplied)
			log.Info("file reloaded", zap.Strings("files", s.Paths))
		},
	}
}

// load applies all sources for the first time, and returns what is wrong with them, or nil.
func load(sources []*filewatch.Source) *multierror.Error {
	var problems *multierror.Error
	for _, s := range sources {
		if _, err := s.Refresh(); err != nil {
			problems = multierror.Append(problems, err)
		}
	}
	return problems
}

// reasonOf returns err without the path, which is reported beside it.
func reasonOf(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return err.Error()
}
