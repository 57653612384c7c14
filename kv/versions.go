// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// versions is changes for a range of one key. It reads them where they lie, so
// that its cost is theirs, not that of everything that happened meanwhile: ten
// thousand watchers of a key each, who come back after a while, would otherwise
// read the whole history ten thousand times.
func (s *Store) versions(r Range, from, to int64, maxBytes int) (changes []change, next int64, err error) {
	key := r.Key
	it, err := s.newIter(&pebble.IterOptions{ // newest first
		LowerBound: appendVersioned(nil, key, newestUpTo(to)),
		UpperBound: appendVersioned(nil, key, newestUpTo(max(from, 1)-1)),
	})
	if err != nil {
		return nil, 0, s.broken(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	size := 0
	for ok := it.Last(); ok; ok = it.Prev() {
		_, main, deleted, err := splitVersioned(it.Key())
		if err != nil {
			return nil, 0, s.broken(err)
		}
		if size >= maxBytes && size > 0 {
			return changes, main, nil
		}
		c := change{revision: revision{main: main}, deleted: deleted, key: key}
		if !deleted {
			if c.record, err = s.recordAt(it); err != nil {
				return nil, 0, err
			}
		}
		changes = append(changes, c)
		size += len(key) + len(c.record)
	}
	if err := it.Error(); err != nil {
		return nil, 0, s.broken(err)
	}
	return changes, to + 1, nil
}
