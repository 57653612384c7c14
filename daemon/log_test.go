// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// journald keeps what a logger sends.
type journald struct {
	records []journalRecord
	full    error // what sending fails with
}

type journalRecord struct {
	message  string
	priority journal.Priority
	fields   map[string]string
}

func (j *journald) send(message string, p journal.Priority, fields map[string]string) error {
	j.records = append(j.records, journalRecord{message, p, fields})
	return j.full
}

func (j *journald) logger(level slog.Leveler) *slog.Logger {
	return slog.New(&journalHandler{send: j.send, level: level})
}

type secret struct{}

func (secret) LogValue() slog.Value { return slog.StringValue("hidden") }

func TestTheJournalGetsTextForPeopleAndFieldsForQueries(t *testing.T) {
	type fields = map[string]string
	for name, c := range map[string]struct {
		say     func(*slog.Logger)
		message string
		fields  fields
	}{
		"a message alone": {
			func(l *slog.Logger) { l.Info("ready") }, "ready", fields{}},
		"attributes of every kind": {
			func(l *slog.Logger) {
				l.Info("done", "took", 1500*time.Millisecond, "n", 7, "ok", true, "cause", errors.New("disk full"), "who", secret{})
			},
			`done took="1.5s" n="7" ok="true" cause="disk full" who="hidden"`,
			fields{"CLEAT_TOOK": "1.5s", "CLEAT_N": "7", "CLEAT_OK": "true", "CLEAT_CAUSE": "disk full", "CLEAT_WHO": "hidden"}},
		"values that would break a line": {
			func(l *slog.Logger) { l.Info("odd", "text", "a \"b\"\nPRIORITY=0") },
			`odd text="a \"b\"\nPRIORITY=0"`, fields{"CLEAT_TEXT": "a \"b\"\nPRIORITY=0"}},
		"keys that the journal would drop": {
			func(l *slog.Logger) { l.Info("odd", "log-level", 1, "größe", 2, "_pid", 3, "a=b", 4) },
			`odd log-level="1" größe="2" _pid="3" a=b="4"`,
			fields{"CLEAT_LOG_LEVEL": "1", "CLEAT_GR__E": "2", "CLEAT__PID": "3", "CLEAT_A_B": "4"}},
		"attributes of the logger come first": {
			func(l *slog.Logger) { l.With("part", "raft").With("term", 3).Info("elected", "leader", 1) },
			`elected part="raft" term="3" leader="1"`, fields{"CLEAT_PART": "raft", "CLEAT_TERM": "3", "CLEAT_LEADER": "1"}},
		"an open group": {
			func(l *slog.Logger) {
				l.With("a", 1).WithGroup("peer").With("b", 2).WithGroup("tls").Info("hello", "c", 3)
			},
			`hello a="1" peer_b="2" peer_tls_c="3"`, fields{"CLEAT_A": "1", "CLEAT_PEER_B": "2", "CLEAT_PEER_TLS_C": "3"}},
		"a group as an attribute": {
			func(l *slog.Logger) {
				l.WithGroup("x").Info("hello", slog.Group("peer", "id", 7, slog.Group("at", "port", 2380)), slog.Group("", "inline", 1))
			},
			`hello x_peer_id="7" x_peer_at_port="2380" x_inline="1"`,
			fields{"CLEAT_X_PEER_ID": "7", "CLEAT_X_PEER_AT_PORT": "2380", "CLEAT_X_INLINE": "1"}},
		"what slog leaves out": {
			func(l *slog.Logger) {
				l.WithGroup("").Info("hello", slog.Attr{}, slog.Group("empty"), slog.Int("n", 1))
			},
			`hello n="1"`, fields{"CLEAT_N": "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := &journald{}
			c.say(j.logger(slog.LevelInfo))
			if len(j.records) != 1 {
				t.Fatalf("%d records: %+v", len(j.records), j.records)
			}
			c.fields["SYSLOG_IDENTIFIER"] = "cleatd"
			if got := j.records[0]; got.message != c.message || !maps.Equal(got.fields, c.fields) {
				t.Errorf("got  %s\n     %v\nwant %s\n     %v", got.message, got.fields, c.message, c.fields)
			}
		})
	}
}

func TestTheJournalGetsPrioritiesFromTheLevelUp(t *testing.T) {
	level := new(slog.LevelVar)
	j := &journald{}
	log := j.logger(level)
	say := func() (heard []journal.Priority) {
		j.records = nil
		for _, l := range []slog.Level{slog.LevelDebug - 4, slog.LevelDebug, slog.LevelInfo, slog.LevelInfo + 1, slog.LevelWarn, slog.LevelError, slog.LevelError + 4} {
			log.Log(t.Context(), l, "x")
		}
		for _, r := range j.records {
			heard = append(heard, r.priority)
		}
		return heard
	}
	for l, want := range map[slog.Level][]journal.Priority{
		slog.LevelDebug: {journal.PriDebug, journal.PriInfo, journal.PriInfo, journal.PriWarning, journal.PriErr, journal.PriErr},
		slog.LevelInfo:  {journal.PriInfo, journal.PriInfo, journal.PriWarning, journal.PriErr, journal.PriErr},
		slog.LevelWarn:  {journal.PriWarning, journal.PriErr, journal.PriErr},
		slog.LevelError: {journal.PriErr, journal.PriErr},
	} {
		level.Set(l) // also for loggers that exist, as a reload does
		if got := say(); !slices.Equal(got, want) {
			t.Errorf("from level %v: got %v, want %v", l, got, want)
		}
	}
}

// speaker logs by itself when it is logged.
type speaker struct{ log *slog.Logger }

func (s speaker) LogValue() slog.Value {
	s.log.Info("inner", "d", 2)
	return slog.IntValue(0)
}

// Loggers that are made of one another, and entries of one logger, do not write
// into each other.
func TestLoggersOfTheJournalBranch(t *testing.T) {
	j := &journald{}
	trunk := j.logger(slog.LevelInfo).With("a", 1).With("b", 2).With("c", 3)
	left, right := trunk.With("side", "left"), trunk.With("side", "right")
	trunk.Info("x", "d", 4)
	left.Info("x")
	right.Info("x")
	trunk.Info("outer", "d", 1, "e", speaker{trunk})
	var got []string
	for _, r := range j.records {
		got = append(got, r.message)
	}
	want := []string{
		`x a="1" b="2" c="3" d="4"`, `x a="1" b="2" c="3" side="left"`, `x a="1" b="2" c="3" side="right"`,
		`inner a="1" b="2" c="3" d="2"`, `outer a="1" b="2" c="3" d="1" e="0"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAJournalThatDoesNotTakeARecordIsAnError(t *testing.T) {
	full := errors.New("no space left in the journal")
	h := &journalHandler{send: (&journald{full: full}).send, level: slog.LevelInfo}
	if err := h.Handle(t.Context(), slog.NewRecord(time.Time{}, slog.LevelInfo, "x", 0)); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

// While the journal's socket is away, its stream on standard error may not be.
func TestWhatTheJournalDoesNotTakeIsALine(t *testing.T) {
	var lines strings.Builder
	h := &journalHandler{send: (&journald{full: errors.New("gone")}).send, level: slog.LevelInfo, spare: &lines}
	slog.New(h).With("a", 1).Error("two\nlines", "b", 2)
	if got, want := lines.String(), "<3>two lines a=\"1\" b=\"2\"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLastWordsAreOneLine(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "")
	var lines strings.Builder
	LastWords(&lines, errors.Join(errors.New("one"), errors.New("two")))
	if got := lines.String(); got != "cleatd: one; two\n" {
		t.Errorf("got %q", got)
	}
}

func TestOutsideTheJournalTheLogIsLines(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "")
	var lines strings.Builder
	log := NewLogger(&lines, slog.LevelWarn)
	log.Info("unheard")
	log.Warn("hello", "peer", 7)
	if got := lines.String(); !strings.HasSuffix(got, "level=WARN msg=hello peer=7\n") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
}
