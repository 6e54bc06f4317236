package tls

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/internal/files"
)

// A keyLog is the ctls.Config.KeyLogWriter of a file. It opens the file for each write, so that the file may be moved away or removed at any
// time: the log is for debugging, and its cost is small beside that of a handshake. Safe for use by several goroutines.
type keyLog struct {
	path string
	log  *zap.Logger // of failures: one a minute
}

func newKeyLog(path string, log *zap.Logger) *keyLog {
	return &keyLog{path: path, log: log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 1, 0)
	}))}
}

// Write appends a line. It reports no error, since crypto/tls would end the handshake for it: a failure is logged.
func (k *keyLog) Write(line []byte) (int, error) {
	if err := appendKeys(k.path, line); err != nil {
		k.log.Warn("TLS keys not written", zap.Error(err))
	}
	return len(line), nil
}

// appendKeys writes a line at the end of the file at path, which it makes if there is none.
func appendKeys(path string, line []byte) error {
	file, err := openKeyLog(path, os.O_CREATE)
	if err != nil {
		return err
	}
	_, err = file.Write(line)
	return errors.Join(err, file.Close())
}

// checkKeyLog returns why keys can't or may not be written to a file at path, or nil. It makes no file.
func checkKeyLog(path string) error {
	file, err := openKeyLog(path, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := files.CheckCreate(filepath.Dir(path)); err != nil {
			return fmt.Errorf("its directory: %s", reasonOf(err))
		}
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

// openKeyLog opens the file at path to append to it. It refuses one that users other than the owner may read, and what is no regular file: a
// pipe would delay handshakes until its reader reads.
func openKeyLog(path string, flags int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK|flags, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil {
		problem := files.GroupExposure(info)
		if !info.Mode().IsRegular() {
			problem = "not a regular file"
		}
		if problem != "" {
			err = &fs.PathError{Op: "open", Path: path, Err: errors.New(problem)}
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
