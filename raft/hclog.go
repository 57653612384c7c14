// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// hclogTo lets hraft and raft-wal, which speak hclog, write to an slog.Logger.
// Their information is our debugging: the Node itself says what a person wants
// to know.
func hclogTo(l *slog.Logger) hclog.Logger { return &bridge{slog: l} }

type bridge struct {
	slog *slog.Logger
	name string
	args []any
}

// routine are warnings and errors that belong to a start or a stop in good
// order, and those that hraft repeats while a member is away, or while there is
// no leader: the Node says so once.
var routine = map[string]bool{
	"heartbeat timeout reached, starting election":        true,
	"Election timeout reached, restarting election":       true,
	"skipping application of old log":                     true,
	"failed to heartbeat to":                              true,
	"failed to contact":                                   true,
	"failed to make requestVote RPC":                      true,
	"failed to decode incoming command":                   true,
	"failed to flush response":                            true,
	"failed to get previous log":                          true, // of a new member
	"appendEntries rejected, sending older logs":          true,
	"not part of stable configuration, aborting election": true,
	"peer has newer term, stopping replication":           true,
}

func (b *bridge) level(level hclog.Level, msg string) slog.Level {
	switch {
	case routine[msg]:
		return slog.LevelDebug
	case level >= hclog.Error:
		return slog.LevelError
	case level == hclog.Warn:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

func (b *bridge) Log(level hclog.Level, msg string, args ...any) {
	to := b.level(level, msg)
	if !b.slog.Enabled(context.Background(), to) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	b.slog.Log(context.Background(), to, "raft: "+msg, args...)
}

func (b *bridge) Trace(msg string, args ...any) { b.Log(hclog.Trace, msg, args...) }
func (b *bridge) Debug(msg string, args ...any) { b.Log(hclog.Debug, msg, args...) }
func (b *bridge) Info(msg string, args ...any)  { b.Log(hclog.Info, msg, args...) }
func (b *bridge) Warn(msg string, args ...any)  { b.Log(hclog.Warn, msg, args...) }
func (b *bridge) Error(msg string, args ...any) { b.Log(hclog.Error, msg, args...) }

func (b *bridge) enabled(level hclog.Level) bool {
	return b.slog.Enabled(context.Background(), b.level(level, ""))
}

func (b *bridge) IsTrace() bool { return b.enabled(hclog.Trace) }
func (b *bridge) IsDebug() bool { return b.enabled(hclog.Debug) }
func (b *bridge) IsInfo() bool  { return b.enabled(hclog.Info) }
func (b *bridge) IsWarn() bool  { return b.enabled(hclog.Warn) }
func (b *bridge) IsError() bool { return b.enabled(hclog.Error) }

func (b *bridge) ImpliedArgs() []any { return b.args }
func (b *bridge) Name() string       { return b.name }

func (b *bridge) With(args ...any) hclog.Logger {
	return &bridge{slog: b.slog.With(args...), name: b.name, args: append(b.args[:len(b.args):len(b.args)], args...)}
}

func (b *bridge) Named(name string) hclog.Logger {
	if b.name != "" {
		name = b.name + "." + name
	}
	return b.ResetNamed(name)
}

func (b *bridge) ResetNamed(name string) hclog.Logger {
	return &bridge{slog: b.slog, name: name, args: b.args}
}

// SetLevel does nothing: levels are slog's affair.
func (b *bridge) SetLevel(hclog.Level) {}

func (b *bridge) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Debug, hclog.Warn, hclog.Error} {
		if b.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

func (b *bridge) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(b.slog.Handler(), slog.LevelDebug)
}

func (b *bridge) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return b.StandardLogger(o).Writer()
}
