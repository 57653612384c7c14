// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// NewLogger returns a logger that writes structured entries to the journal
// when standard error is connected to it, and lines to w otherwise.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	if journald, err := journal.StderrIsJournalStream(); err == nil && journald {
		return slog.New(&journalHandler{level: level})
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// journalHandler sends each entry as one journal record: the text with its
// attributes for people, and each attribute as a field CLEAT_KEY for queries.
type journalHandler struct {
	level  slog.Leveler
	prefix string // the groups that are open, each with an underscore
	attrs  []slog.Attr
}

func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append([]slog.Attr{}, h.attrs...)
	for _, a := range attrs {
		a.Key = h.prefix + a.Key
		c.attrs = append(c.attrs, a)
	}
	return &c
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.prefix += name + "_"
	return &c
}

func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	message := strings.Builder{}
	message.WriteString(r.Message)
	fields := make(map[string]string)
	add := func(a slog.Attr) bool {
		v := a.Value.Resolve().String()
		fmt.Fprintf(&message, " %s=%q", a.Key, v)
		fields[fieldName(a.Key)] = v
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		a.Key = h.prefix + a.Key
		return add(a)
	})
	return journal.Send(message.String(), priority(r.Level), fields)
}

// fieldName turns a key into a name that the journal accepts: upper-case
// letters, digits and underscores.
func fieldName(key string) string {
	return "CLEAT_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
