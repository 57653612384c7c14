// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

// The benchmark that decided where a record lies. Each layout holds the same
// million changes: half a million keys of 32 bytes with values of 256, put in
// random order, then each put again in another order.
//
//	go test ./kv -run '^$' -bench Layout -benchtime 1x -timeout 30m

const (
	layoutKeys    = 500_000
	layoutBatch   = 100
	layoutRange   = 10_000
	layoutLookups = 20_000
)

// layout is one way to lay a history out. put has found the previous version
// already, as every layout must; fn in walk gets whole records by revision.
type layout interface {
	put(b *pebble.Batch, key []byte, main int64, record Record)
	get(it *pebble.Iterator, db *pebble.DB, key []byte) []byte
	walk(db *pebble.DB, fn func(record []byte))
}

func BenchmarkLayout(b *testing.B) {
	for _, l := range []struct {
		name   string
		layout layout
	}{
		{"by_key", byKey{chunk: 1}},
		{"by_key_in_chunks", byKey{chunk: chunkChanges}},
		{"by_revision", byRevision{}},
		{"both", both{}},
	} {
		b.Run(l.name, func(b *testing.B) {
			for b.Loop() {
				measureLayout(b, l.layout)
			}
		})
	}
}

func measureLayout(b *testing.B, l layout) {
	s := &Store{failed: make(chan struct{}), fatal: func(err error) { b.Error(err) }}
	s.writer = &writer{store: s}
	db, err := pebble.Open(b.TempDir(), s.pebbleOptions(Options{}))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()

	spent := cpu()
	fillLayout(b, db, l)
	report(b, "put", spent, 2*layoutKeys)
	if err := db.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(db.Metrics().DiskSpaceUsage())/(2*layoutKeys), "disk-B/change")

	draw := rand.New(rand.NewPCG(3, 3))
	it := iterate(b, db, spaceKeys)
	spent = cpu()
	for range layoutLookups {
		it.Close()
		it = iterate(b, db, spaceKeys) // a reader makes its own
		if l.get(it, db, layoutKey(draw.IntN(layoutKeys))) == nil {
			b.Fatal("a key is not there")
		}
	}
	report(b, "get", spent, layoutLookups)

	spent = cpu()
	for range 10 {
		if n := rangeLayout(it, db, l, draw.IntN(layoutKeys-layoutRange)); n != layoutRange {
			b.Fatalf("a range of %d keys", n)
		}
	}
	report(b, "range", spent, 10*layoutRange)
	it.Close()

	spent = cpu()
	changes, crc := 0, uint32(0)
	l.walk(db, func(record []byte) {
		crc = crc32.Update(crc, castagnoli, record)
		changes++
	})
	report(b, "walk", spent, changes)
	if changes != 2*layoutKeys {
		b.Fatalf("%d changes", changes)
	}
}

// fillLayout puts everything, with the look-up of the previous version.
func fillLayout(b *testing.B, db *pebble.DB, l layout) {
	draw := rand.New(rand.NewPCG(1, 2))
	order := slices.Concat(draw.Perm(layoutKeys), draw.Perm(layoutKeys))
	value := make([]byte, 256)
	for from := 0; from < len(order); from += layoutBatch {
		batch := db.NewBatch()
		it := iterate(b, db, spaceKeys)
		for i, n := range order[from : from+layoutBatch] {
			key, main := layoutKey(n), int64(from+i+2)
			it.SeekPrefixGE(appendPrefix(nil, key))
			for at := 0; at < len(value); at += 16 { // half of it compresses
				binary.BigEndian.PutUint64(value[at:], draw.Uint64())
			}
			l.put(batch, key, main, encodeRecord(key, value, main, main, 1, 0))
		}
		it.Close()
		if err := batch.Commit(pebble.NoSync); err != nil {
			b.Fatal(err)
		}
	}
}

// rangeLayout reads the newest record of keys in key order.
func rangeLayout(it *pebble.Iterator, db *pebble.DB, l layout, first int) (n int) {
	for ok := it.SeekGE(appendPrefix(nil, layoutKey(first))); ok && n < layoutRange; ok = it.NextPrefix() {
		key, main, _, _ := splitVersioned(it.Key())
		switch l.(type) {
		case byRevision:
			n += len(byRevision{}.at(db, main, key)[:1])
		default:
			v, _ := it.ValueAndErr()
			n += len(bytes.Clone(v)[:1])
		}
	}
	return n
}

// byKey: the record lies under k, the history names the key. A walk looks the
// records up in chunks that are sorted by key.
type byKey struct{ chunk int }

func (byKey) put(b *pebble.Batch, key []byte, main int64, record Record) {
	_ = b.Set(appendVersioned(nil, key, versionOf(main, false)), encodeVersioned(0, record), nil)
	_ = b.Set(historyKey(revision{main: main}), encodeHistory(key, false), nil)
}

func (byKey) get(it *pebble.Iterator, _ *pebble.DB, key []byte) []byte { return newest(it, key) }

func (l byKey) walk(db *pebble.DB, fn func([]byte)) {
	s := &Store{db: db, fatal: func(error) {}, failed: make(chan struct{})}
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceHistory, 0}, UpperBound: []byte{spaceHistory + 1, 0}})
	if err != nil {
		panic(err)
	}
	defer it.Close()
	var changes []change
	pass := func() {
		if err := s.fetch(changes); err != nil {
			panic(err)
		}
		for _, c := range changes {
			fn(c.record)
		}
		changes = changes[:0]
	}
	for ok := it.First(); ok; ok = it.Next() {
		c, err := s.changeAt(it)
		if err != nil {
			panic(err)
		}
		if changes = append(changes, c); len(changes) == l.chunk {
			pass()
		}
	}
	pass()
}

// byRevision: the record lies in the history, k names the revision.
type byRevision struct{}

func (byRevision) put(b *pebble.Batch, key []byte, main int64, record Record) {
	_ = b.Set(appendVersioned(nil, key, versionOf(main, false)), []byte{format, 0}, nil)
	_ = b.Set(historyKey(revision{main: main}), encodeVersioned(0, record), nil)
}

func (l byRevision) get(it *pebble.Iterator, db *pebble.DB, key []byte) []byte {
	if !it.SeekPrefixGE(appendPrefix(nil, key)) {
		return nil
	}
	_, main, _, _ := splitVersioned(it.Key())
	return l.at(db, main, key)
}

func (byRevision) at(db *pebble.DB, main int64, _ []byte) []byte {
	v, closer, err := db.Get(historyKey(revision{main: main}))
	if err != nil {
		panic(err)
	}
	defer closer.Close()
	return bytes.Clone(v)
}

func (byRevision) walk(db *pebble.DB, fn func([]byte)) { walkHistory(db, fn) }

// both: the record lies under k and in the history.
type both struct{}

func (both) put(b *pebble.Batch, key []byte, main int64, record Record) {
	value := encodeVersioned(0, record)
	_ = b.Set(appendVersioned(nil, key, versionOf(main, false)), value, nil)
	_ = b.Set(historyKey(revision{main: main}), value, nil)
}

func (both) get(it *pebble.Iterator, _ *pebble.DB, key []byte) []byte { return newest(it, key) }
func (both) walk(db *pebble.DB, fn func([]byte))                      { walkHistory(db, fn) }

func newest(it *pebble.Iterator, key []byte) []byte {
	if !it.SeekPrefixGE(appendPrefix(nil, key)) {
		return nil
	}
	v, _ := it.ValueAndErr()
	return bytes.Clone(v)
}

func walkHistory(db *pebble.DB, fn func([]byte)) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceHistory, 0}, UpperBound: []byte{spaceHistory + 1, 0}})
	if err != nil {
		panic(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, _ := it.ValueAndErr()
		fn(bytes.Clone(v))
	}
}

func iterate(b *testing.B, db *pebble.DB, space byte) *pebble.Iterator {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{space, 0}, UpperBound: []byte{space + 1, 0}, UseL6Filters: true})
	if err != nil {
		b.Fatal(err)
	}
	return it
}

// layoutKey is the n-th key in key order, 32 bytes long.
func layoutKey(n int) []byte {
	key := bytes.Repeat([]byte{'/'}, 32)
	binary.BigEndian.PutUint64(key[12:], uint64(n)*37)
	return key
}

// cpu is the processor time this process has taken, in microseconds.
func cpu() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return (u.Utime.Sec+u.Stime.Sec)*1e6 + int64(u.Utime.Usec) + int64(u.Stime.Usec)
}

func report(b *testing.B, what string, since int64, n int) {
	b.ReportMetric(float64(cpu()-since)/float64(n), what+"-cpu-µs")
}
