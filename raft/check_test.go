// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	hraft "github.com/hashicorp/raft"
)

func entry(index uint64, command string) *hraft.Log {
	return &hraft.Log{Index: index, Term: 1, Data: groupOf(command)}
}

// used is the directory of a stopped member with ten lines, a label in their
// middle, a log that is cut off before them, and a state as new as the log.
func used(t *testing.T, kind string) string {
	t.Helper()
	dir := t.TempDir()
	m := open(t, dir, onLog(kind))
	m.write(t, strings.Repeat("x", keepAlone+markBytes))
	for i := range 10 {
		m.write(t, fmt.Sprintf("line number %d", i))
		if i == 4 {
			m.moveLabel()
		}
	}
	if err := m.book.Persist(0); err != nil {
		t.Fatal(err)
	}
	m.stop(t)
	return dir
}

// refused opens dir and wants an error that names each of the words.
func refused(t *testing.T, dir, kind string, words ...string) {
	t.Helper()
	m, err := tryOpen(t, dir, onLog(kind))
	if err == nil {
		m.stop(t)
		t.Fatalf("was opened, want an error with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if setting := strings.Contains(err.Error(), "the setting is"); errors.Is(err, ErrDamaged) == setting {
		t.Errorf("error %q is ErrDamaged: %v", err, !setting)
	}
	if len(m.fatal) > 0 {
		t.Error("Fatal was told what Open returned")
	}
}

func TestTheOtherKindOfLogIsRefusedByName(t *testing.T) {
	dir := used(t, logWAL)
	refused(t, dir, logBoltDB, filepath.Join(dir, "raft", walDir), `set it to "wal"`)
	dir = used(t, logBoltDB)
	refused(t, dir, logWAL, filepath.Join(dir, "raft", boltFile), `set it to "boltdb"`)
}

func TestWhatIsMissingIsRefused(t *testing.T) {
	for _, kind := range bothLogs {
		log := filepath.Base(logPath(&Config{Log: kind}))
		for name, c := range map[string]struct {
			gone []string
			says []string
		}{
			"the vote":              {[]string{"raft/stable.db"}, []string{"stable.db is missing"}},
			"the log":               {[]string{"raft/" + log}, []string{log + " is missing"}},
			"the log and the state": {[]string{"raft/" + log, "raft/labels", "book"}, []string{log, "is empty", "the log is lost"}},
			"the log and the vote":  {[]string{"raft/" + log, "raft/stable.db"}, []string{log + " is missing"}},
			"the label":             {[]string{"raft/labels"}, []string{"begins at entry", "ends at entry 0"}},
			"the state":             {[]string{"book"}, []string{"has applied entry 0", "promises entry"}},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				dir := used(t, kind)
				for _, gone := range c.gone {
					if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
						t.Fatal(err)
					}
				}
				refused(t, dir, kind, c.says...)
			})
		}
	}
}

// hraft never applies what lies at or below the label, so an older state would
// silently lack it.
func TestAStateOlderThanTheLabelIsRefusedWithBothNumbers(t *testing.T) {
	dir := used(t, logWAL)
	if err := os.WriteFile(bookPath(dir), []byte(`{"Index": 3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, logWAL, "applied entry 3", "promises entry 9")
}

// A state that is newer than the log takes new entries for old ones.
func TestAStateNewerThanTheLogIsRefusedWithBothNumbers(t *testing.T) {
	dir := used(t, logWAL)
	if err := os.WriteFile(bookPath(dir), []byte(`{"Index": 1000}`), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, logWAL, "applied entry 1000", "ends at entry 14")
}

func TestAnotherMembersLogIsRefused(t *testing.T) {
	dir := used(t, logWAL)
	_, err := tryOpen(t, dir, func(c *Config) { c.Member = 8 })
	if err == nil || !strings.Contains(err.Error(), "0000000000000008") {
		t.Fatalf("err %v, want one that names the member", err)
	}
}

func TestDamageIsRefusedWithTheFilesName(t *testing.T) {
	for name, c := range map[string]struct {
		kind, file string
		damage     func([]byte) []byte
	}{
		"an entry in a wal":          {logWAL, "wal/*.wal", flip("line number 7")},
		"an entry in a bolt log":     {logBoltDB, "log.db", flip("line number 7")},
		"the vote":                   {logWAL, "stable.db", func(d []byte) []byte { return make([]byte, len(d)) }},
		"the vote cut short":         {logWAL, "stable.db", func(d []byte) []byte { return d[:5000] }},
		"a bolt log":                 {logBoltDB, "log.db", func(d []byte) []byte { return make([]byte, len(d)) }},
		"a bolt log cut short":       {logBoltDB, "log.db", func(d []byte) []byte { return d[:9000] }},
		"the wal's metadata":         {logWAL, "wal/wal-meta.db", func(d []byte) []byte { return make([]byte, len(d)) }},
		"a label":                    {logWAL, "labels/*.label", func(d []byte) []byte { d[3] ^= 1; return d }},
		"a label that was cut short": {logWAL, "labels/*.label", func(d []byte) []byte { return d[:4] }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := used(t, c.kind)
			files, err := filepath.Glob(filepath.Join(dir, "raft", c.file))
			if err != nil || len(files) != 1 {
				t.Fatalf("files %v, %v", files, err)
			}
			if err := os.WriteFile(files[0], c.damage(read(t, files[0])), 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, c.kind, files[0])
		})
	}
}

// flip changes one bit in each copy of text.
func flip(text string) func([]byte) []byte {
	return func(d []byte) []byte {
		changed := bytes.Clone([]byte(text))
		changed[2] ^= 1
		return bytes.ReplaceAll(d, []byte(text), changed)
	}
}

// The first start has several writes, the member's id, the term and the first
// entry among them; a crash may come before and after each.
func TestTheFirstStartCanBeInterrupted(t *testing.T) {
	for steps := 0; ; steps++ {
		dir := t.TempDir()
		p := &power{steps: steps}
		m, err := tryOpen(t, dir, p.faults)
		if err == nil {
			p.out()
			m.stop(t)
			if steps < 4 {
				t.Errorf("only %d steps were interrupted", steps)
			}
			return
		}
		m = open(t, dir)
		m.sync(t)
		m.write(t, "x")
		m.stop(t)
	}
}

func TestConfigNamesTheFieldThatIsWrong(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"Dir":             func(c *Config) { c.Dir = "" },
		"Member":          func(c *Config) { c.Member = 0 },
		"Log":             func(c *Config) { c.Log = "paper" },
		"ElectionTimeout": func(c *Config) { c.ElectionTimeout = 1 },
		"SnapshotBytes":   func(c *Config) { c.SnapshotBytes = -1 },
		"Logger":          func(c *Config) { c.Logger = nil },
	} {
		c := config(t.TempDir())
		change(&c)
		if _, err := Open(c, &book{}); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
