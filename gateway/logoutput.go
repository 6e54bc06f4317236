package gateway

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// A logOutput is the destination of log lines: a stream, or a file that a program may move away, such as logrotate. It implements
// zapcore.WriteSyncer; its methods may be called from any goroutine.
type logOutput struct {
	path string // "": a stream

	mu sync.Mutex

	w io.Writer // guarded by mu
}

// The values of [log] output that name no file.
const (
	outputStderr = "stderr"
	outputStdout = "stdout"
)

// openOutput opens the output that [log] output names. stderr is the output of that name.
func openOutput(output string, stderr io.Writer) (*logOutput, error) {
	switch output {
	case outputStderr:
		return &logOutput{w: stderr}, nil
	case outputStdout:
		return &logOutput{w: os.Stdout}, nil
	}
	o := &logOutput{path: output}
	return o, o.reopen()
}

// reopen continues in a new file at the path, from which the old file was moved away. On an error it continues in the old file.
func (o *logOutput) reopen() error {
	if o.path == "" {
		return nil
	}
	// Other users must not read it: access lines have the addresses of clients.
	file, err := os.OpenFile(o.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("log output: %w", err)
	}
	o.mu.Lock()
	before := o.w
	o.w = file
	o.mu.Unlock()
	if closer, ok := before.(io.Closer); ok {
		_ = closer.Close()
	}
	return nil
}

// Write implements io.Writer: one line whole.
func (o *logOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

// Sync implements zapcore.WriteSyncer. Nothing is held back.
func (o *logOutput) Sync() error { return nil }

// close closes a file.
func (o *logOutput) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if file, ok := o.w.(*os.File); ok && o.path != "" {
		_ = file.Close()
		o.w = io.Discard
	}
}
