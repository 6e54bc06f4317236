package gateway

import (
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/internal/config"
)

// logs are the logs of a gateway: its own and the access log, to one output, one line at a time.
type logs struct {
	main   *zap.Logger
	access *zap.Logger
	level  zap.AtomicLevel // of main
	out    *logOutput
}

// openLogs returns the logs that [log] describes. stderr is the usual output.
func openLogs(section config.Log, stderr io.Writer) (*logs, error) {
	out, err := openOutput(section.Output, stderr)
	if err != nil {
		return nil, err
	}
	level, err := zapcore.ParseLevel(section.Level)
	if err != nil {
		panic("BUG: a level that Check lets pass: " + err.Error())
	}
	l := &logs{level: zap.NewAtomicLevelAt(level), out: out}
	encoder := newEncoder(section.Format)
	l.main = zap.New(zapcore.NewCore(encoder, out, l.level))
	// Access lines are written at every level of the other lines: access = false turns them off.
	l.access = zap.NewNop()
	if section.Access != (config.Access{}) {
		l.access = zap.New(zapcore.NewCore(encoder.Clone(), out, zap.InfoLevel)).Named("access")
	}
	return l, nil
}

// reopen opens the log's file anew, and logs that.
func (l *logs) reopen() {
	if err := l.out.reopen(); err != nil {
		l.main.Error("log output can't be opened anew", zap.Error(err))
		return
	}
	l.main.Info("log output opened anew")
}

// newEncoder returns the encoder of a format.
func newEncoder(format string) zapcore.Encoder {
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey = "time"
	encoding.MessageKey = "message"
	encoding.NameKey = "room"
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	switch format {
	case "json":
		return zapcore.NewJSONEncoder(encoding)
	case "console":
		encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoding.EncodeDuration = zapcore.StringDurationEncoder
		return zapcore.NewConsoleEncoder(encoding)
	default:
		panic("BUG: a format that Check lets pass: " + format)
	}
}
