// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// counting counts what is read of a file that has zeros behind its end.
type counting struct {
	raw  []byte
	read int64
}

func (c *counting) ReadAt(b []byte, at int64) (int, error) {
	c.read += int64(len(b))
	clear(b)
	if at < int64(len(c.raw)) {
		copy(b, c.raw[at:])
	}
	return len(b), nil
}

// walkAll walks through every bucket of a file that claims so many bytes.
func walkAll(from io.ReaderAt, size int64) error {
	r, err := NewReader(from, size)
	for i := 0; err == nil && i < len(r.Buckets()); i++ {
		err = r.Walk(r.Buckets()[i], func(_, _ []byte) error { return nil })
	}
	return err
}

// eachPage calls fn for each page of a kind.
func eachPage(raw []byte, kind uint16, fn func(id int, page []byte)) {
	for id := firstData; id*pageSize < len(raw); id++ {
		if p := raw[id*pageSize:]; order.Uint64(p) == uint64(id) && order.Uint16(p[8:]) == kind {
			fn(id, p)
		}
	}
}

// Pages that each have the rest of the file as their part would be read as
// often as there are pages.
func TestPagesThatLieInOthersAreNotReadForEver(t *testing.T) {
	raw := encode(t, few(rand.New(rand.NewPCG(2, 1))))
	pages := len(raw) / pageSize
	eachPage(raw, kindLeaf, func(id int, p []byte) { order.PutUint32(p[12:], uint32(pages-id-1)) })
	c := &counting{raw: raw}
	if err := walkAll(c, int64(len(raw))); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
	if c.read > 3*int64(len(raw)) {
		t.Errorf("%d bytes of %d were read", c.read, len(raw))
	}
}

// Elements that share their bytes would make a small file endless.
func TestElementsThatOverlapAreRefused(t *testing.T) {
	raw := encode(t, content{Meta: {"a": "1", "b": "2", "c": "3"}, Key: {}})
	changed := 0
	eachPage(raw, kindLeaf, func(_ int, p []byte) {
		if order.Uint16(p[10:]) != 3 {
			return
		}
		changed++
		size := p[pageHeader+12:]
		order.PutUint32(size, order.Uint32(size)+4) // the first one's value has all of the others too
	})
	if _, err := decode(raw); changed != 1 || !errors.Is(err, ErrDamaged) {
		t.Errorf("%d pages changed: %v", changed, err)
	}
}

// A file may be large, but not of one page: it would have to be in memory.
func TestAPageLargerThanTheMemoryIsNotRead(t *testing.T) {
	raw := encode(t, content{Meta: {"a": "1"}, Key: {}})
	const pages = 1 << 20 // 4 GiB of holes
	eachPage(raw, kindLeaf, func(_ int, p []byte) { order.PutUint32(p[12:], pages/2) })
	for id := range uint64(2) {
		m, _ := decodeMeta(raw[id*pageSize:])
		m.pages = pages
		copy(raw[id*pageSize:], m.encode(id))
	}
	c := &counting{raw: raw}
	if err := walkAll(c, pages*pageSize); !errors.Is(err, ErrDamaged) || c.read > 1<<20 {
		t.Errorf("%d bytes were read: %v", c.read, err)
	}
}

func TestBucketsThatNoEtcdHasAreRefused(t *testing.T) {
	buckets := func(names ...string) error {
		f, err := os.Create(filepath.Join(t.TempDir(), "file"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := NewWriter(f)
		for _, name := range names {
			_ = w.Bucket(name) // Close tells
		}
		size, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewReader(f, size)
		return err
	}
	var many []string
	for i := range maxBuckets + 1 {
		many = append(many, fmt.Sprintf("%03d", i))
	}
	if err := buckets(many[1:]...); err != nil {
		t.Errorf("%d buckets: %v", maxBuckets, err)
	}
	if err := buckets(many...); !errors.Is(err, ErrForeign) {
		t.Errorf("%d buckets: %v", len(many), err)
	}
	if err := buckets("a", "b", "b"); !errors.Is(err, ErrDamaged) {
		t.Errorf("the same bucket twice: %v", err)
	}
}

func FuzzReader(f *testing.F) {
	small := content{Meta: {StorageVersion: "3.7.0"}, Key: {}, "empty": {}}
	for i := range 200 {
		small[Key][string(AppendRevision(nil, int64(i), 0, false))] = fmt.Sprint(i)
	}
	f.Add(encode(f, small))
	f.Add(encodeWithBbolt(f, small, 1024))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := decode(raw)
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
			t.Errorf("%v", err)
		}
		r, err := NewReader(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		_, _ = r.Status() // must only return
		for _, name := range r.Buckets() {
			passed := 0
			_ = r.Walk(name, func(key, value []byte) error { passed += len(key) + len(value); return nil }) // decode has judged it
			if passed > len(raw) {
				t.Errorf("bucket %q has %d bytes, the file %d", name, passed, len(raw))
			}
		}
	})
}
