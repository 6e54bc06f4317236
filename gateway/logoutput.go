package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A logOutput is the destination of log lines: a stream, or a file that a program may move away, such as logrotate. It implements
// zapcore.WriteSyncer; its methods may be called from any goroutine. No caller waits for the destination, whose reader may stand still:
// lines wait in a queue for run, the one goroutine that writes. Lines that find no room there, or can't be written, are lost, counted,
// and told of by a line at their place.
type logOutput struct {
	path   string                   // "": a stream
	stderr io.Writer                // gets a warning when writing begins to fail; nil: it is itself the output
	notice func(lost uint64) []byte // returns the line that tells of lost ones
	lost   prometheus.Counter       // lines
	ended  chan struct{}            // closed when run has returned

	// Owned by run.
	w         io.Writer
	untold    uint64 // lost lines that no line has told of yet
	isCut     bool   // the last line was written in part
	isFailing bool   // the last write failed

	warning sync.Mutex // held while a warning is written

	mu sync.Mutex

	queued   logBatch  // guarded by mu
	changed  sync.Cond // of mu: for run
	isClosed bool      // guarded by mu
}

// A logBatch is what run does next.
type logBatch struct {
	lines   []byte
	dropped uint64   // lines that had no room after those
	next    *os.File // the output from the byte at nextAt on; nil: it stays
	nextAt  int
}

const (
	// mostQueuedLog bounds the bytes of lines that wait to be written: those of some ten thousand access lines.
	mostQueuedLog = 4 << 20
	// keptLogBuffer is the size up to which a buffer of lines is used again.
	keptLogBuffer = 64 << 10
	// logPatience is how long a stop waits until the queued lines are written.
	logPatience = time.Second
)

// The values of [log] output that name no file.
const (
	outputStderr = "stderr"
	outputStdout = "stdout"
)

// openOutput opens the output that [log] output names. stderr is the output of that name. notice returns the line that tells of lost ones.
// The caller calls close.
func openOutput(output string, stderr io.Writer, notice func(lost uint64) []byte) (*logOutput, error) {
	o := &logOutput{
		stderr: stderr,
		notice: notice,
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_log_lines_lost_total", Help: "Lines of the log that were lost: the output stands still, or can't be written.",
		}),
		ended: make(chan struct{}),
	}
	o.changed.L = &o.mu
	switch output {
	case outputStderr:
		o.w, o.stderr = stderr, nil
	case outputStdout:
		o.w = os.Stdout
	default:
		file, err := openLogFile(output)
		if err != nil {
			return nil, err
		}
		o.path, o.w = output, file
	}
	go o.run()
	return o, nil
}

// openLogFile opens the file at path. Other users must not read it: access lines have the addresses of clients. A pipe that no program reads
// is an error: to wait for its reader would delay a start or a stop for ever.
func openLogFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640)
	switch {
	case errors.Is(err, syscall.ENXIO):
		return nil, fmt.Errorf("log output: no program reads the pipe %s", path)
	case err != nil:
		return nil, fmt.Errorf("log output: %w", err)
	}
	return file, nil
}

// Write implements io.Writer: one line whole. It waits for no output and reports no error.
func (o *logOutput) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := &o.queued
	// After one that was dropped none may come before run has told of it.
	if o.isClosed || q.dropped > 0 || len(line) > mostQueuedLog-len(q.lines) {
		q.dropped++
		o.lost.Inc()
		return len(line), nil
	}
	q.lines = append(q.lines, line...)
	o.changed.Signal()
	return len(line), nil
}

// Sync implements zapcore.WriteSyncer. Only close waits for the queue.
func (o *logOutput) Sync() error { return nil }

// reopen continues in a new file at the path, from which the old file was moved away: lines up to now go to the old one. On an error it
// continues in the old file. It doesn't wait for either.
func (o *logOutput) reopen() error {
	if o.path == "" {
		return nil
	}
	file, err := openLogFile(o.path)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	unused := o.queued.next // of a call before, if run still stands
	if o.isClosed {
		unused = file
	} else {
		o.queued.next, o.queued.nextAt = file, len(o.queued.lines)
		o.changed.Signal()
	}
	if unused != nil {
		_ = unused.Close()
	}
	return nil
}

// close writes the queued lines and closes a file. It gives up after logPatience: then what still waits is lost, and a write that stands
// still is left to the end of the process. Lines that come later are lost.
func (o *logOutput) close() {
	o.mu.Lock()
	o.isClosed = true
	o.changed.Signal()
	o.mu.Unlock()
	patience := time.NewTimer(logPatience)
	defer patience.Stop()
	select {
	case <-o.ended:
	case <-patience.C:
	}
}

// run writes the queue until it is closed and empty.
func (o *logOutput) run() {
	defer close(o.ended)
	var spare []byte
	for isOpen := true; isOpen; {
		var b logBatch
		b, isOpen = o.take(spare)
		o.write(b.lines[:b.nextAt])
		if b.next != nil {
			o.closeFile()
			o.w, o.isCut = b.next, false
		}
		o.write(b.lines[b.nextAt:])
		if b.dropped > 0 {
			o.untold += b.dropped
			o.write(nil)
		}
		if spare = nil; cap(b.lines) <= keptLogBuffer {
			spare = b.lines[:0]
		}
	}
	o.closeFile()
}

// take waits for something to do. The next lines are queued in spare, which is empty. isOpen is false when the queue is closed: then
// nothing comes after the result.
func (o *logOutput) take(spare []byte) (b logBatch, isOpen bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queued.lines) == 0 && o.queued.next == nil && !o.isClosed {
		o.changed.Wait()
	}
	b, o.queued = o.queued, logBatch{lines: spare}
	return b, !o.isClosed
}

// write writes lines, after one that tells of those lost before them, if there are any.
func (o *logOutput) write(lines []byte) {
	if o.untold > 0 {
		if rest := o.send(o.notice(o.untold)); len(rest) > 0 {
			o.lose(lines)
			return
		}
		o.untold = 0
	}
	o.lose(o.send(lines))
}

// lose counts lines, the first of which may be cut.
func (o *logOutput) lose(lines []byte) {
	n := bytes.Count(lines, []byte("\n"))
	o.untold += uint64(n)
	o.lost.Add(float64(n))
}

// send writes lines, and returns what could not be written. After a line that was cut they begin on a new one.
func (o *logOutput) send(lines []byte) (rest []byte) {
	if len(lines) == 0 {
		return nil
	}
	if o.isCut {
		if _, err := writeTo(o.w, []byte("\n")); err != nil {
			o.failed(err)
			return lines
		}
		o.isCut = false
	}
	n, err := writeTo(o.w, lines)
	o.isCut = n > 0 && lines[n-1] != '\n'
	if err != nil {
		o.failed(err)
		return lines[n:]
	}
	o.isFailing = false
	return nil
}

// failed warns, once until a write succeeds. The output of the warning may stand still too.
func (o *logOutput) failed(err error) {
	if !o.isFailing && o.stderr != nil && o.warning.TryLock() {
		go o.warn(err)
	}
	o.isFailing = true
}

func (o *logOutput) warn(err error) {
	defer o.warning.Unlock()
	_, _ = writeTo(o.stderr, fmt.Appendf(nil, "sluice: the log can't be written, its lines are lost until it can: %v\n", err))
}

// closeFile closes the output if it is a file of [log].
func (o *logOutput) closeFile() {
	if file, ok := o.w.(*os.File); ok && o.path != "" {
		_ = file.Close()
	}
}

// writeTo is w.Write, with a panic as an error: the log can't tell of its own.
func writeTo(w io.Writer, p []byte) (n int, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			n, err = 0, fmt.Errorf("panic: %v", cause)
		}
	}()
	return w.Write(p)
}
