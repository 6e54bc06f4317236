package main

import (
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/cmd/sluice/internal/config"
)

// newLogger returns the logger that [log] describes. It writes a line at a time.
func newLogger(section config.Log, out zapcore.WriteSyncer) *zap.Logger {
	level, err := zapcore.ParseLevel(section.Level)
	if err != nil {
		panic("BUG: a level that Check lets pass: " + err.Error())
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.TimeKey = "time"
	encoding.MessageKey = "message"
	encoding.NameKey = "room"
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	var encoder zapcore.Encoder
	switch section.Format {
	case "json":
		encoder = zapcore.NewJSONEncoder(encoding)
	case "console":
		encoding.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		encoding.EncodeDuration = zapcore.StringDurationEncoder
		encoder = zapcore.NewConsoleEncoder(encoding)
	default:
		panic("BUG: a format that Check lets pass: " + section.Format)
	}
	return zap.New(zapcore.NewCore(encoder, out, level))
}

// newAccessLogger returns the logger for one line a session. It writes whatever the level of the
// other lines is: access = false is what turns it off.
func newAccessLogger(section config.Log, out zapcore.WriteSyncer) *zap.Logger {
	if !section.Access {
		return zap.NewNop()
	}
	section.Level = "info"
	return newLogger(section, out).Named("access")
}
