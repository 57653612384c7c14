// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// NewLogger returns a logger that writes structured entries to the journal
// when standard error is connected to it, and lines to w otherwise.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	if journald, err := journal.StderrIsJournalStream(); err == nil && journald {
		return slog.New(&journalHandler{send: journal.Send, level: level, spare: w})
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// identifier is what the journal calls the lines that systemd itself takes from
// standard error, so that both are found together.
const identifier = "cleatd"

// LastWords writes why the program ends, as one line and with the priority of an
// error where the journal reads it: what comes that way is kept with the unit also
// when the process is gone before the journal has looked.
func LastWords(w io.Writer, err error) {
	prefix := ""
	if journald, no := journal.StderrIsJournalStream(); no == nil && journald {
		prefix = lineOfPriority(journal.PriErr)
	}
	fmt.Fprintf(w, "%scleatd: %s\n", prefix, oneLine(err))
}

// lineOfPriority begins a line on standard error that has a priority.
func lineOfPriority(p journal.Priority) string { return fmt.Sprintf("<%d>", p) }

// journalHandler sends each entry as one journal record: the text with its
// attributes for people, and each attribute as a field CLEAT_KEY for queries.
type journalHandler struct {
	send   func(message string, p journal.Priority, fields map[string]string) error
	level  slog.Leveler
	spare  io.Writer   // takes what the journal does not; nil: nobody does
	prefix string      // the groups that are open, each with an underscore
	attrs  []slog.Attr // of the logger, their keys with the groups
}

func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		c.attrs = appendFlat(c.attrs, h.prefix, a)
	}
	return &c
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.prefix = grouped(h.prefix, name)
	return &c
}

func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Clone(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = appendFlat(attrs, h.prefix, a)
		return true
	})
	message := strings.Builder{}
	message.WriteString(r.Message)
	fields := map[string]string{"SYSLOG_IDENTIFIER": identifier} // journalctl -t
	for _, a := range attrs {
		v := a.Value.String()
		fmt.Fprintf(&message, " %s=%q", a.Key, v)
		fields[fieldName(a.Key)] = v
	}
	err := h.send(message.String(), priority(r.Level), fields)
	if err == nil || h.spare == nil {
		return err
	}
	line := strings.ReplaceAll(message.String(), "\n", " ")
	_, err = fmt.Fprintf(h.spare, "%s%s\n", lineOfPriority(priority(r.Level)), line)
	return err
}

// appendFlat appends an attribute, or the members of a group each by itself:
// the journal's fields have no depth. slog leaves out what has neither key nor
// value.
func appendFlat(attrs []slog.Attr, prefix string, a slog.Attr) []slog.Attr {
	if a.Equal(slog.Attr{}) {
		return attrs
	}
	a.Value = a.Value.Resolve()
	if a.Value.Kind() != slog.KindGroup {
		a.Key = prefix + a.Key
		return append(attrs, a)
	}
	for _, member := range a.Value.Group() {
		attrs = appendFlat(attrs, grouped(prefix, a.Key), member)
	}
	return attrs
}

// grouped is the prefix inside a group. One without a name is no group.
func grouped(prefix, group string) string {
	if group == "" {
		return prefix
	}
	return prefix + group + "_"
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
