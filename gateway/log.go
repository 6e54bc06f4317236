package gateway

import (
	"io"
	"time"

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
	level, err := zapcore.ParseLevel(section.Level)
	if err != nil {
		panic("BUG: a level that Check lets pass: " + err.Error())
	}
	encoder := newEncoder(section.Format)
	out, err := openOutput(section.Output, stderr, noticeOf(encoder.Clone()))
	if err != nil {
		return nil, err
	}
	l := &logs{level: zap.NewAtomicLevelAt(level), out: out}
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

// noticeOf returns what encodes the line that tells of lost ones.
func noticeOf(encoder zapcore.Encoder) func(lost uint64) []byte {
	return func(lost uint64) []byte {
		line, err := encoder.EncodeEntry(zapcore.Entry{
			Level: zap.WarnLevel, Time: time.Now(), LoggerName: "log", Message: "log lines were lost",
		}, []zap.Field{zap.Uint64("lines", lost)})
		if err != nil {
			panic("BUG: " + err.Error())
		}
		return line.Bytes()
	}
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
		return safeEncoder{zapcore.NewJSONEncoder(encoding)}
	case "console":
		encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoding.EncodeDuration = zapcore.StringDurationEncoder
		return safeEncoder{zapcore.NewConsoleEncoder(encoding)}
	default:
		panic("BUG: a format that Check lets pass: " + format)
	}
}
