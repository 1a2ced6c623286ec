package certhost

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger gives certmagic a logger that ends in ours.
func zapLogger(log Logger) *zap.Logger { return zap.New(&zapCore{log: log}) }

// A zapCore writes one line an entry: logger, message, key=value sorted by key.
// Debug entries are never made: certmagic has several for each handshake, and
// would pay for them whether or not anybody reads them.
type zapCore struct {
	log    Logger
	fields []zapcore.Field
}

func (c *zapCore) Enabled(level zapcore.Level) bool { return level >= zapcore.InfoLevel }

func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{log: c.log, fields: slices.Concat(c.fields, fields)}
}

func (c *zapCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c *zapCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if entry.Message == "will retry" {
		return nil // it will not: see manager.obtain, which says when we shall
	}
	encoder := zapcore.NewMapObjectEncoder()
	for _, field := range slices.Concat(c.fields, fields) {
		field.AddTo(encoder)
	}
	var line strings.Builder
	line.WriteString("https: acme: ")
	if entry.LoggerName != "" {
		line.WriteString(entry.LoggerName + ": ")
	}
	line.WriteString(entry.Message)
	for _, key := range slices.Sorted(maps.Keys(encoder.Fields)) {
		fmt.Fprintf(&line, " %s=%v", key, encoder.Fields[key])
	}
	switch entry.Level {
	case zapcore.InfoLevel:
		c.log.Infof("%s", line.String())
	case zapcore.WarnLevel:
		c.log.Warningf("%s", line.String())
	default:
		c.log.Errorf("%s", line.String())
	}
	return nil
}

func (c *zapCore) Sync() error { return nil }
