// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// change is one line of the history, before its record has been looked up.
type change struct {
	revision
	deleted bool
	key     []byte
	record  Record
}

// chunkChanges bounds how many changes are looked up together, chunkBytes how
// many bytes of them are held.
const (
	chunkChanges = 16 << 10
	chunkBytes   = 8 << 20
)

// Events returns the changes in r from revision from to revision to, in order
// and in whole revisions, about maxBytes of them but at least one revision.
// next is the first revision that the answer does not cover; at most to+1, and
// at most one past the present. It fails with ErrCompacted when from is older
// than what was kept. Recent ones come from memory, older ones from disk; those
// of a single key cost as much as there are of them, whatever else happened.
func (s *Store) Events(r Range, from, to int64, maxBytes int) (events []Event, next int64, err error) {
	if from < s.Compacted() {
		return nil, 0, ErrCompacted
	}
	to = min(to, s.Revision())
	if from > to {
		return nil, from, nil
	}
	single := len(r.End) == 0
	if !single {
		if events, next, ok := s.tail.read(r, from, to, maxBytes); ok {
			return events, max(next, from), nil
		}
	}
	read := s.changes
	if single {
		read = s.versions
	}
	changes, next, err := read(r, from, to, maxBytes)
	if err != nil {
		return nil, 0, err
	}
	// The removal of what a compaction gave up begins after the compaction
	// is visible, so a look now tells whether the history had a hole.
	if from < s.Compacted() {
		return nil, 0, ErrCompacted
	}
	for _, c := range changes {
		if c.deleted {
			events = append(events, Event{Delete: true, Record: encodeRecord(c.key, nil, 0, c.main, 0, 0)})
		} else {
			events = append(events, Event{Record: c.record})
		}
	}
	return events, next, nil
}

// changes reads the changes in [from, to] that r selects, with their records,
// up to about a bound, ending between two revisions.
func (s *Store) changes(r Range, from, to int64, maxBytes int) (changes []change, next int64, err error) {
	changes, next, err = s.history(r, from, to, min(maxBytes, chunkBytes))
	if err != nil {
		return nil, 0, err
	}
	kept, err := s.fetchUpTo(changes, 2*maxBytes)
	if err != nil {
		return nil, 0, err
	}
	if len(kept) < len(changes) {
		next = changes[len(kept)].main
	}
	return kept, next, nil
}

// history reads the lines of the history in [from, to] that r selects, up to a
// bound, ending between two revisions.
func (s *Store) history(r Range, from, to int64, maxBytes int) (changes []change, next int64, err error) {
	it, err := s.newIter(&pebble.IterOptions{
		LowerBound: historyKey(revision{main: from}), UpperBound: historyKey(revision{main: to + 1}),
	})
	if err != nil {
		return nil, 0, s.broken(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	size, seen := 0, int64(0)
	for ok := it.First(); ok; ok = it.Next() {
		c, err := s.changeAt(it)
		if err != nil {
			return nil, 0, err
		}
		if c.main != seen && (size >= maxBytes || len(changes) >= chunkChanges) {
			return changes, c.main, nil
		}
		seen = c.main
		if r.contains(c.key) {
			changes = append(changes, c)
			size += len(c.key) + guessedRecord
		}
	}
	if err := it.Error(); err != nil {
		return nil, 0, s.broken(err)
	}
	return changes, to + 1, nil
}

// guessedRecord is what an event is taken to weigh before its record is read.
const guessedRecord = 512

func (s *Store) changeAt(it *pebble.Iterator) (change, error) {
	rev, err := splitHistory(it.Key())
	if err != nil {
		return change{}, s.broken(err)
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return change{}, s.broken(err)
	}
	key, deleted, err := decodeHistory(v)
	if err != nil {
		return change{}, s.broken(err)
	}
	return change{revision: rev, deleted: deleted, key: bytes.Clone(key)}, nil
}

// fetch looks up the records of changes.
func (s *Store) fetch(changes []change) error {
	_, err := s.fetchUpTo(changes, math.MaxInt)
	return err
}

// fetchUpTo looks up the records of changes. The history goes by revision while
// records lie by key, so the look-ups are made in key order on one iterator,
// which makes neighbours cheap. How large they are shows only then: when they
// exceed maxBytes it gives up the newer half of the revisions, as often as it
// takes or until one is left. It returns the changes that it kept.
func (s *Store) fetchUpTo(changes []change, maxBytes int) (kept []change, err error) {
	order := make([]int, 0, len(changes))
	for i, c := range changes {
		if !c.deleted {
			order = append(order, i)
		}
	}
	if len(order) == 0 {
		return changes, nil
	}
	slices.SortFunc(order, func(a, b int) int { return compareChanges(changes[a], changes[b]) })
	it, err := s.newIter(&pebble.IterOptions{LowerBound: []byte{spaceKeys, 0}, UpperBound: []byte{spaceKeys + 1, 0}})
	if err != nil {
		return nil, s.broken(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var seek []byte
	size := 0
	for _, i := range order {
		if i >= len(changes) {
			continue
		}
		c := &changes[i]
		seek = appendVersioned(seek[:0], c.key, versionOf(c.main, false))
		if c.record, err = s.recordOf(it, seek, c.revision); err != nil {
			return nil, err
		}
		size += len(c.record)
		for size > maxBytes && changes[0].main != changes[len(changes)-1].main {
			n := middle(changes)
			for j := range changes[n:] {
				size -= len(changes[n+j].record)
				changes[n+j].record = nil
			}
			changes = changes[:n]
		}
	}
	return changes, nil
}

// recordOf reads the record of a change, whose place is seek.
func (s *Store) recordOf(it *pebble.Iterator, seek []byte, rev revision) (Record, error) {
	if it.SeekGE(seek) && bytes.Equal(it.Key(), seek) {
		return s.recordAt(it)
	}
	if err := it.Error(); err != nil {
		return nil, s.broken(err)
	}
	if rev.main < s.Compacted() {
		return nil, ErrCompacted
	}
	return nil, s.broken(fmt.Errorf("%w: revision %d.%d names a record that is not there", errDamaged, rev.main, rev.sub))
}

// middle returns where to part changes of several revisions, between two of
// them.
func middle(changes []change) int {
	half := len(changes) / 2
	main := changes[half].main
	if n := slices.IndexFunc(changes, func(c change) bool { return c.main == main }); n > 0 {
		return n
	}
	return slices.IndexFunc(changes, func(c change) bool { return c.main > main })
}

// compareChanges orders by key, then newest first, as the records lie.
func compareChanges(a, b change) int {
	if c := bytes.Compare(a.key, b.key); c != 0 {
		return c
	}
	switch {
	case a.main > b.main:
		return -1
	case a.main < b.main:
		return 1
	}
	return 0
}
