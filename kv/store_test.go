// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/cockroachkvs"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func open(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(Options{Dir: "db", FS: fs, TailBytes: 4096, Fatal: func(err error) { t.Errorf("fatal: %v", err) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s := open(t, vfs.NewMem())
	t.Cleanup(func() { _ = s.Close() }) // some tests close it themselves
	return s
}

// put commits one put as entry index.
func put(t testing.TB, s *Store, index uint64, key, value string) {
	t.Helper()
	b := s.NewBatch()
	defer b.Close()
	txn := b.Begin()
	txn.Put([]byte(key), []byte(value), 0)
	txn.End()
	if err := b.Commit(index); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsReadAsTheyWereWritten(t *testing.T) {
	r := encodeRecord([]byte("k"), []byte("v"), 2, 300, 4, -5)
	if string(r.Key()) != "k" || string(r.Value()) != "v" || r.CreateRevision() != 2 ||
		r.ModRevision() != 300 || r.Version() != 4 || r.Lease() != -5 {
		t.Errorf("%x reads as %q %q %d %d %d %d", r, r.Key(), r.Value(), r.CreateRevision(), r.ModRevision(), r.Version(), r.Lease())
	}
	if short := r.withLeaseOnly(); short.Value() != nil || short.Lease() != -5 {
		t.Errorf("without its value: %x", short)
	}
	if short := r.withoutValue(); short.Lease() != 0 || short.Version() != 4 {
		t.Errorf("keys only: %x", short)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(encodeRecord([]byte("k"), []byte("v"), 2, 3, 4, 5)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Record(b)
		_, _, _, _, _, _ = r.Key(), r.Value(), r.CreateRevision(), r.ModRevision(), r.Version(), r.Lease()
		_ = r.withLeaseOnly()
		_, _, _ = decodeVersioned(b)
		_, _, _ = decodeHistory(b)
		_, _, _, _ = splitVersioned(b)
		_, _ = splitHistory(b)
		_, _ = decodeNumber(b)
	})
}

// The order of keys on disk must be that of the keys, then newest first.
func FuzzKeyOrder(f *testing.F) {
	f.Add([]byte("a"), []byte("a\x00"), uint16(1), uint16(2))
	f.Add([]byte("a"), []byte("a"), uint16(9), uint16(2))
	f.Add([]byte{9}, []byte{0, 9}, uint16(1), uint16(1))
	f.Fuzz(func(t *testing.T, a, b []byte, va, vb uint16) {
		if len(a) == 0 || len(b) == 0 {
			return
		}
		x, y := appendVersioned(nil, a, uint64(va)+1), appendVersioned(nil, b, uint64(vb)+1)
		want := strings.Compare(string(a), string(b))
		if want == 0 {
			want = compareChanges(change{key: a, revision: revision{main: int64(va)}}, change{key: b, revision: revision{main: int64(vb)}})
		}
		got := cockroachkvs.Comparer.Compare(x, y)
		if got != want {
			t.Errorf("%x@%d against %x@%d: %d, want %d", a, va, b, vb, got, want)
		}
		if cockroachkvs.Comparer.Split(x) != len(appendPrefix(nil, a)) {
			t.Errorf("%x splits at %d", x, cockroachkvs.Comparer.Split(x))
		}
		if key, main, _, err := splitVersioned(x); err != nil || string(key) != string(a) || main != int64(uint64(va)+1)>>1 {
			t.Errorf("%x splits into %x %d %v", x, key, main, err)
		}
		if want < 0 && string(a) != string(b) {
			sep := cockroachkvs.Comparer.Separator(nil, x, y)
			if cockroachkvs.Comparer.Compare(x, sep) > 0 || cockroachkvs.Comparer.Compare(sep, y) >= 0 {
				t.Errorf("%x does not separate %x and %x", sep, x, y)
			}
		}
	})
}

func TestWhatIsNotFlushedIsLostAsAWholeSuffix(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	for i := uint64(1); i <= 10; i++ {
		put(t, s, i, fmt.Sprintf("k%d", i), "v")
		if i == 6 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.DurableIndex() != 6 || s.AppliedIndex() != 10 {
		t.Errorf("durable %d, applied %d", s.DurableIndex(), s.AppliedIndex())
	}
	crashed := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	if got := crashed.AppliedIndex(); got != 6 {
		t.Errorf("applied index %d after a crash, want 6", got)
	}
	r, err := crashed.Range(everything, ReadOptions{})
	if err != nil || r.Count != 6 || r.Revision != 7 {
		t.Errorf("after a crash: %d keys, revision %d, %v", r.Count, r.Revision, err)
	}
}

func TestCloseMakesEverythingDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, fs)
	put(t, s, 1, "a", "1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	if again.Revision() != 2 || again.AppliedIndex() != 1 {
		t.Errorf("revision %d, applied %d", again.Revision(), again.AppliedIndex())
	}
}

func TestAFailedDiskStopsTheStoreOnce(t *testing.T) {
	for name, fails := range map[string]func(errorfs.OpKind) bool{
		"write": func(k errorfs.OpKind) bool { return k == errorfs.OpFileWrite || k == errorfs.OpCreate },
		"sync": func(k errorfs.OpKind) bool {
			return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData || k == errorfs.OpFileSyncTo
		},
	} {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Bool
			inject := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if broken.Load() && fails(op.Kind) {
					return errorfs.ErrInjected
				}
				return nil
			})
			told := make(chan error, 2) // one too many
			s, err := Open(Options{Dir: "db", FS: errorfs.Wrap(vfs.NewMem(), inject), Fatal: func(err error) { told <- err }})
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, 1, "a", "1")
			broken.Store(true)
			if err := s.Flush(); !errors.Is(err, ErrFailed) {
				t.Errorf("flush: %v, want ErrFailed", err)
			}
			broken.Store(false)
			if s.DurableIndex() != 0 {
				t.Errorf("durable index %d after a failed flush", s.DurableIndex())
			}
			b := s.NewBatch()
			b.Begin().Put([]byte("b"), nil, 0)
			if err := b.Commit(2); !errors.Is(err, ErrFailed) {
				t.Errorf("commit: %v, want ErrFailed", err)
			}
			b.Close()
			if cause := <-told; !errors.Is(cause, errorfs.ErrInjected) {
				t.Errorf("told %v", cause)
			}
			_ = s.Close() // it has failed; nothing is told after it
			if len(told) != 0 {
				t.Errorf("told again: %v", <-told)
			}
		})
	}
}

func TestADamagedFileIsNamed(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	for i := uint64(1); i <= 200; i++ {
		put(t, s, i, fmt.Sprintf("key%d", i), strings.Repeat(fmt.Sprint(i), 50))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	damaged := ""
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			damaged = name
			flip(t, fs, "db/"+name, 100)
		}
	}
	if damaged == "" {
		t.Fatalf("no table in %q", names)
	}
	var cause error
	again, err := Open(Options{Dir: "db", FS: fs, Fatal: func(err error) { cause = errors.Join(cause, err) }})
	if err == nil {
		_, err = again.Range(everything, ReadOptions{})
	}
	if err == nil {
		t.Fatal("a damaged store answered")
	}
	if text := fmt.Sprint(err, cause); !strings.Contains(text, damaged[:6]) {
		t.Errorf("%s is not named: %s", damaged, text)
	}
}

// flip turns the bits of one byte of a file.
func flip(t *testing.T, fs vfs.FS, path string, at int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestANewerFormatIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	if err := s.db.Set(metaKey(metaFormat), encodeNumber(format+1), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: "db", FS: fs}); !errors.Is(err, ErrFormat) {
		t.Errorf("got %v, want ErrFormat", err)
	}
}

func TestAnAbandonedBatchLeavesNoTrace(t *testing.T) {
	s := newStore(t)
	put(t, s, 1, "a", "1")
	b := s.NewBatch()
	b.Begin().Put([]byte("a"), []byte("2"), 0)
	b.Set('x', []byte("k"), []byte("v"))
	b.Close()
	b = s.NewBatch()
	defer b.Close()
	if r, found := b.Begin().Latest([]byte("a")); !found || string(r.Value()) != "1" {
		t.Errorf("the next batch reads %q", r)
	}
	if v, err := b.Get('x', []byte("k")); v != nil || err != nil {
		t.Errorf("the side table has %q %v", v, err)
	}
}

func TestSideTablesKeepToThemselves(t *testing.T) {
	s := newStore(t)
	b := s.NewBatch()
	for _, k := range []string{"", "a", "a\x00b", "ab", "b", "\xff", "\xff\xff"} {
		b.Set('x', []byte(k), []byte("v"+k))
		b.Set('y', []byte(k), nil)
	}
	b.Delete('x', []byte("b"))
	if err := b.Commit(1); err != nil {
		t.Fatal(err)
	}
	b.Close()
	for prefix, want := range map[string]string{"": `["" "a" "a\x00b" "ab" "\xff" "\xff\xff"]`, "a": `["a" "a\x00b" "ab"]`, "\xff": `["\xff" "\xff\xff"]`, "c": "[]"} {
		keys := []string{}
		if err := s.Scan('x', []byte(prefix), func(k, v []byte) error {
			if string(v) != "v"+string(k) {
				t.Errorf("%q has %q", k, v)
			}
			keys = append(keys, string(k))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%q", keys); got != want {
			t.Errorf("prefix %q: %s, want %s", prefix, got, want)
		}
	}
}
