//go:build !linux

package load

import (
	"errors"
	"time"
)

var errNoProc = errors.New("processes are measured on Linux only")

func processCPU(int) (time.Duration, error) { return 0, errNoProc }

func processRSS(int) (int64, error) { return 0, errNoProc }
