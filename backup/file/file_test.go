// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

// content is what a file has: bucket, key, value.
type content map[string]map[string]string

// some returns buckets of many shapes: empty, small, of several levels, with
// values larger than a page.
func some(random *rand.Rand) content {
	c := content{"empty": {}, Meta: {StorageVersion: "3.7.0"}, Key: {}}
	for i := range 20_000 {
		revision := AppendRevision(nil, int64(i+2), 0, false)
		c[Key][string(revision)] = string(make([]byte, random.IntN(300)))
	}
	for i := range 50 {
		revision := AppendRevision(nil, 30_000, int64(i), i%2 == 0)
		c[Key][string(revision)] = string(bytes.Repeat([]byte{byte(i)}, random.IntN(100_000)))
	}
	long := map[string]string{}
	for i := range 300 {
		long[string(bytes.Repeat([]byte{'a' + byte(i%26)}, 1+random.IntN(9000)))] = ""
	}
	c["long keys"] = long
	return c
}

// few has a tree of two levels.
func few(random *rand.Rand) content {
	c := content{Meta: {StorageVersion: "3.7.0"}, Key: {}}
	for i := range 2000 {
		c[Key][string(AppendRevision(nil, int64(i+2), 0, false))] = string(make([]byte, random.IntN(300)))
	}
	return c
}

// encode returns the file that our writer makes.
func encode(t testing.TB, c content) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := NewWriter(f)
	for _, name := range []string{Meta, Key, "empty", "long keys"} { // in any order
		if c[name] == nil {
			continue
		}
		_ = w.Bucket(name) // Close tells
		for _, key := range slices.Sorted(maps.Keys(c[name])) {
			_ = w.Put([]byte(key), []byte(c[name][key]))
		}
	}
	size, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || int64(len(raw)) != size {
		t.Fatalf("%d bytes, the writer says %d: %v", len(raw), size, err)
	}
	return raw
}

// encodeWithBbolt returns the file that bbolt makes, in several transactions,
// so that it has free pages and small buckets inside others.
func encodeWithBbolt(t testing.TB, c content, pageSize int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, pairs := range c {
		for chunk := range slices.Chunk(append(slices.Collect(maps.Keys(pairs)), ""), 1000) {
			err := db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				for _, key := range chunk {
					if key != "" && err == nil {
						err = b.Put([]byte(key), []byte(pairs[key]))
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func decode(raw []byte) (content, error) {
	r, err := NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, err
	}
	c := content{}
	for _, name := range r.Buckets() {
		c[name] = map[string]string{}
		err := r.Walk(name, func(key, value []byte) error {
			c[name][string(key)] = string(value)
			return nil
		})
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

func TestBboltReadsWhatIsWritten(t *testing.T) {
	want := some(rand.New(rand.NewPCG(1, 1)))
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, encode(t, want), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got := content{}
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			got[string(name)] = map[string]string{}
			return b.ForEach(func(key, value []byte) error {
				got[string(name)][string(key)] = string(value)
				return nil
			})
		})
	})
	if err != nil || !same(got, want) {
		t.Fatalf("bbolt reads something else: %v", err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { // as etcd goes on with it
		b := tx.Bucket([]byte(Key))
		for i := range 1000 {
			if err := b.Delete(AppendRevision(nil, int64(3*i+2), 0, false)); err != nil {
				return err
			}
			if err := b.Put(AppendRevision(nil, int64(40_000+i), 0, false), []byte("more")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatBboltWritesIsRead(t *testing.T) {
	want := some(rand.New(rand.NewPCG(1, 2)))
	for _, size := range []int{1024, 4096, 16384} {
		got, err := decode(encodeWithBbolt(t, want, size))
		if err != nil || !same(got, want) {
			t.Errorf("pages of %d: something else was read: %v", size, err)
		}
	}
	if got, err := decode(encode(t, want)); err != nil || !same(got, want) {
		t.Errorf("our own: something else was read: %v", err)
	}
}

func same(a, b content) bool {
	return maps.EqualFunc(a, b, func(x, y map[string]string) bool { return maps.Equal(x, y) })
}

func TestKeysOutOfOrderAreNotWritten(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := NewWriter(f)
	_ = w.Bucket("b") // Close tells
	_ = w.Put([]byte("b"), nil)
	if err := w.Put([]byte("b"), nil); !errors.Is(err, ErrOrder) {
		t.Error(err)
	}
	if _, err := w.Close(); !errors.Is(err, ErrOrder) {
		t.Error(err)
	}
}

// A file that was cut anywhere is refused, with a checksum or without.
func TestACutFileIsRefused(t *testing.T) {
	whole := withHash(encode(t, few(rand.New(rand.NewPCG(1, 3)))))
	path := filepath.Join(t.TempDir(), "cut")
	for at := 0; at < len(whole); at += 1 + len(whole)/300 {
		if err := os.WriteFile(path, whole[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		for _, skip := range []bool{false, true} {
			s, err := Open(path, skip)
			switch {

			case err == nil:
				if !skip || at < len(whole)-sha256.Size { // all pages are there
					t.Errorf("cut at %d of %d: taken", at, len(whole))
				}
				_ = s.Close()
			case !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoHash) && !errors.Is(err, ErrForeign):
				t.Errorf("cut at %d: %v", at, err)
			}
		}
	}
}

// One byte that is wrong, anywhere, is noticed by the checksum.
func TestADamagedFileIsRefused(t *testing.T) {
	whole := withHash(encode(t, few(rand.New(rand.NewPCG(1, 4)))))
	path := filepath.Join(t.TempDir(), "damaged")
	random := rand.New(rand.NewPCG(1, 5))
	for range 300 {
		at := random.IntN(len(whole))
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1 << random.IntN(8)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path, false); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d: %v %v", at, s, err)
		}
	}
}

func withHash(pages []byte) []byte {
	sum := sha256.Sum256(pages)
	return append(bytes.Clone(pages), sum[:]...)
}

func TestForeignFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	for name, raw := range map[string][]byte{
		"empty":     nil,
		"text":      []byte("hello"),
		"zeros":     make([]byte, 100_000),
		"an SQLite": append([]byte("SQLite format 3\x00"), make([]byte, 1<<16)...),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, true); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(dir, true); !errors.Is(err, ErrForeign) {
		t.Errorf("a directory: %v", err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(pipe, true); !errors.Is(err, ErrForeign) { // nobody will ever write to it
		t.Errorf("a pipe: %v", err)
	}
}

// Pages that lead to one another are not followed for ever.
func TestACircleEnds(t *testing.T) {
	raw := encode(t, some(rand.New(rand.NewPCG(1, 6))))
	broken := 0
	for id := firstData; id*pageSize < len(raw); id++ {
		p := raw[id*pageSize:]
		if binary.LittleEndian.Uint16(p[8:]) == kindBranch {
			binary.LittleEndian.PutUint64(p[pageHeader+8:], uint64(id))
			broken++
		}
	}
	if _, err := decode(raw); broken == 0 || !errors.Is(err, ErrDamaged) {
		t.Errorf("%d branches lead to themselves: %v", broken, err)
	}
}
