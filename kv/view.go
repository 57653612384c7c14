// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// View is the store at one moment, for those who read all of it. It keeps the
// files of that moment on the disk until it is closed; writers go on. One
// goroutine uses it at a time.
type View struct {
	store     *Store
	it        *pebble.Iterator // never moved after View; the others are its clones
	revision  int64
	compacted int64
	applied   uint64
}

// View returns the store as it is after the newest commit.
func (s *Store) View() (_ *View, err error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	it, err := s.newIter(nil)
	if err != nil {
		return nil, s.broken(err)
	}
	v := &View{store: s, it: it, revision: 1, compacted: -1}
	defer func() {
		if err != nil {
			err = errors.Join(s.broken(err), it.Close())
		}
	}()
	for name, set := range map[string]func(uint64){
		metaRevision:  func(n uint64) { v.revision = int64(n) },
		metaCompacted: func(n uint64) { v.compacted = int64(n) },
		metaApplied:   func(n uint64) { v.applied = n },
	} {
		key := metaKey(name)
		if !it.SeekGE(key) || !bytes.Equal(it.Key(), key) {
			if err := it.Error(); err != nil {
				return nil, err
			}
			continue
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		n, err := decodeNumber(value)
		if err != nil {
			return nil, err
		}
		set(n)
	}
	return v, nil
}

// Revision is [Store.Revision] of that moment.
func (v *View) Revision() int64 { return v.revision }

// Compacted is [Store.Compacted] of that moment.
func (v *View) Compacted() int64 { return v.compacted }

// Index returns the log index of the newest commit.
func (v *View) Index() uint64 { return v.applied }

// Close lets go of the files.
func (v *View) Close() error { return v.it.Close() }

// Scan is [Store.Scan] at that moment.
func (v *View) Scan(table byte, prefix []byte, fn func(key, value []byte) error) error {
	return v.store.scan(v.clone, table, prefix, fn)
}

func (v *View) clone(o *pebble.IterOptions) (*pebble.Iterator, error) {
	return v.it.Clone(pebble.CloneOptions{IterOptions: o})
}

// AtMost returns a bound, which costs little to find, of how many bytes all keys
// and values of the store have; what waits to be removed counts too.
func (v *View) AtMost() (int64, error) {
	levels, err := v.store.db.SSTables(pebble.WithProperties())
	if err != nil {
		return 0, v.store.broken(err)
	}
	size := uint64(0)
	for _, tables := range levels {
		for _, t := range tables {
			size += t.Properties.RawKeySize + t.Properties.RawValueSize
		}
	}
	return int64(size + v.store.db.Metrics().MemTable.Size), nil
}

// Change is one version of a key, or its deletion, which has no record.
type Change struct {
	Main    int64
	Sub     uint32
	Deleted bool
	Key     []byte
	Record  Record
}

// Changes calls fn for all that the history since the compaction needs: what
// came later, and of what came before the newest version of each key, as far as
// a compaction keeps it. The order is that of the keys, and of one key newest
// first. The slices are valid during the call only. fn's error ends it.
func (v *View) Changes(fn func(Change) error) (err error) {
	s := v.store
	it, err := v.clone(&pebble.IterOptions{LowerBound: []byte{spaceKeys, 0}, UpperBound: []byte{spaceKeys + 1, 0}})
	if err != nil {
		return s.broken(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var last []byte
	settled := false // a version at or before the compaction was met
	for ok := it.First(); ok; ok = it.Next() {
		key, main, deleted, err := splitVersioned(it.Key())
		if err != nil {
			return s.broken(err)
		}
		if !bytes.Equal(key, last) {
			last, settled = append(last[:0], key...), false
		}
		if main <= v.compacted {
			if settled {
				continue
			}
			settled = true
			if deleted && main < v.compacted {
				continue
			}
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return s.broken(err)
		}
		sub, record, err := decodeVersioned(value)
		if err != nil {
			return s.broken(err)
		}
		if err := fn(Change{Main: main, Sub: sub, Deleted: deleted, Key: key, Record: record}); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return s.broken(err)
	}
	return nil
}
