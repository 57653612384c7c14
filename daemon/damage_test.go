// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cleatd/cleat/pki"
)

const (
	furnishedKeys = 45
	furnishedSize = 64 << 10
)

// furnished is the directory of a stopped member with tables, a label, and a
// log that goes on after it.
func furnished(t *testing.T, log string) Options {
	t.Helper()
	o := options(t, shortDir(t))
	o.Config.RaftLog = log
	o.small()
	l := begin(t, o)
	for i := range furnishedKeys {
		if i == furnishedKeys-5 {
			l.labelled()
		}
		if err := l.put(fmt.Sprint(i), furnishedSize); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	return o
}

// labelled waits for the member's first label.
func (l *life) labelled() {
	l.t.Helper()
	late := time.After(patience)
	for {
		labels, err := filepath.Glob(filepath.Join(l.d.dir.path, "raft", "labels", "*.label"))
		if err != nil {
			l.t.Fatal(err)
		}
		if len(labels) > 0 {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			l.t.Fatal("there is no label")
		}
	}
}

// spots are where the damage is, in bytes from the file's begin.
type spots func(whole []byte) []int

// part is one byte, so many hundredths into what is not zero at the file's end.
func part(hundredths int) spots {
	return func(whole []byte) []int { return []int{(len(trimmed(whole)) - 1) * hundredths / 100} }
}

// trimmed is what stands before the zeros at the end, found by the block first:
// the log keeps room for what is to come.
func trimmed(whole []byte) []byte {
	zeros := make([]byte, 64<<10)
	for bytes.HasSuffix(whole, zeros) {
		whole = whole[:len(whole)-len(zeros)]
	}
	return bytes.TrimRight(whole, "\x00")
}

// each is the byte after each copy of a text: bolt keeps old pages.
func each(text string) spots {
	return func(whole []byte) []int {
		var at []int
		for from := 0; ; {
			i := bytes.Index(whole[from:], []byte(text))
			if i < 0 {
				return at
			}
			from += i + len(text)
			at = append(at, from)
		}
	}
}

func TestADamagedFileIsNamed(t *testing.T) {
	made := map[string]Options{"wal": furnished(t, "wal"), "boltdb": furnished(t, "boltdb")}
	for name, c := range map[string]struct {
		log, file string
		spots     spots
		says      string // beside the file's name
	}{
		"member.json, its form":          {"wal", "member.json", each(`"for`), "damaged"},
		"member.json, the cluster":       {"wal", "member.json", each(`"cluster_id": "`), "damaged"},
		"member.json, the log":           {"wal", "member.json", each(`"raft_log": "`), "damaged"},
		"the manifest":                   {"wal", "state/MANIFEST-*", part(50), "damaged at byte"},
		"the options":                    {"wal", "state/OPTIONS-*", each("block_size_threshold"), "invalid"},
		"the head of a segment":          {"wal", "raft/wal/*.wal", part(0), "segment"},
		"an entry above the label":       {"wal", "raft/wal/*.wal", part(95), "does not match its checksum"},
		"the last entry":                 {"wal", "raft/wal/*.wal", part(100), "ends at entry"},
		"the list of segments":           {"wal", "raft/wal/wal-meta.db", each(`"CreateTime":"20`), "WAL is corrupt"},
		"the list of segments, its page": {"wal", "raft/wal/wal-meta.db", each("wal-m"), ""},
		"an entry in boltdb":             {"boltdb", "raft/log.db", each(filler("44", 20)), "does not match its checksum"},
		"the term":                       {"wal", "raft/stable.db", each("Current"), ""},
		"the label":                      {"wal", "raft/labels/*.label", part(50), "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			o := copied(t, made[c.log])
			file := one(t, o.Config.DataDir, c.file)
			flip(t, file, c.spots)
			d, err := Open(t.Context(), o)
			if err == nil {
				_ = d.Close()
				t.Fatalf("a member started on a damaged %s", filepath.Base(file))
			}
			t.Log(err)
			if !errors.Is(err, ErrConfig) {
				t.Errorf("systemd would try again and again: %v", err)
			}
			for _, want := range []string{o.Config.DataDir, filepath.Base(file), c.says} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "goroutine") {
				t.Errorf("not one line: %q", err)
			}
		})
	}
}

// A damaged cluster key costs no replica of the data: the member serves, and is
// locked.
func TestADamagedClusterKeyLocksTheCA(t *testing.T) {
	o := copied(t, furnished(t, "wal"))
	flip(t, one(t, o.Config.DataDir, "pki/cluster.key"), part(50))
	l := begin(t, o)
	if _, err := l.client.Put(within(t), "k", "v"); err != nil {
		t.Error(err)
	}
	if err := l.d.pki.Locked(); !errors.Is(err, pki.ErrClusterKey) {
		t.Errorf("locked for %v", err)
	}
}

// Some bytes are not needed for anything that was acknowledged.
func TestDamageThatCostsNothingIsNoHindrance(t *testing.T) {
	made := furnished(t, "wal")
	for name, c := range map[string]struct {
		file  string
		spots spots
	}{
		"LOCK tells only who holds it":                    {"LOCK", part(0)},
		"below the label the state is read, not the log":  {"raft/wal/*.wal", part(30)},
		"Pebble's own log is off":                         {"state/*.log", part(50)},
		"its options are read, and then set anew":         {"state/OPTIONS-*", each("bytes_per_sync=")},
		"a member's certificate is made anew from the CA": {"pki/member.pem", part(20)},
		"a member's private key is made anew with it":     {"pki/member.pem", part(90)},
	} {
		t.Run(name, func(t *testing.T) {
			o := copied(t, made)
			flip(t, one(t, o.Config.DataDir, c.file), c.spots)
			l := begin(t, o)
			l.holds(furnishedKeys, furnishedSize)
			l.works()
		})
	}
}

// A table is read when somebody asks for what is in it: reading all of them at
// each start would take minutes. Whoever asks is told nothing rather than
// something wrong, and the member stops.
func TestADamagedTableStopsTheMemberThatReadsIt(t *testing.T) {
	const keys, size = 200, 4 << 10
	o := options(t, shortDir(t))
	l := begin(t, o)
	for i := range keys {
		if err := l.put(fmt.Sprint(i), size); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	table := one(t, o.Config.DataDir, "state", "*.sst")
	flip(t, table, part(50))
	l = begin(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range keys {
		key := fmt.Sprint(i)
		r, err := l.client.Get(ctx, key)
		if err != nil {
			break
		}
		if len(r.Kvs) != 1 || string(r.Kvs[0].Value) != filler(key, size) {
			t.Errorf("key %s reads as %d records", key, len(r.Kvs))
		}
	}
	if err := l.fall(); err == nil || !strings.Contains(err.Error(), table) {
		t.Errorf("the member ended with %v, want %s", err, table)
	}
}

// Ids that are damaged into other ids are found by what belongs to them.
func TestAnotherIdInMemberJSONIsNoticed(t *testing.T) {
	o := options(t, shortDir(t))
	if err := begin(t, o).end(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(o.Config.DataDir, "member.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{`"cluster_id": "`, `"member_id": "`} {
		other := bytes.Clone(whole)
		at := each(id)(whole)[0] + 9
		if other[at] = '0'; whole[at] == '0' {
			other[at] = '1'
		}
		if err := os.WriteFile(file, other, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), o); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "member.json names") {
			t.Errorf("another %s: %v", id, err)
		}
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	begin(t, o).works()
}

// copied is a member's directory once more. Zeros at the end of a file are left
// out.
func copied(t *testing.T, o Options) Options {
	t.Helper()
	next := options(t, shortDir(t))
	next.Config.RaftLog = o.Config.RaftLog
	err := filepath.WalkDir(o.Config.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(o.Config.DataDir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(next.Config.DataDir, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return errors.Join(os.WriteFile(to, trimmed(whole), 0o600), os.Truncate(to, int64(len(whole))))
	})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// flip turns all bits of some bytes.
func flip(t *testing.T, path string, spots spots) {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	places := spots(whole)
	if len(places) == 0 {
		t.Fatalf("%s has no such place", path)
	}
	for _, at := range places {
		if _, err := f.WriteAt([]byte{^whole[at]}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}
