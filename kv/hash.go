// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"encoding/binary"
	"hash/crc32"
)

// Hash is what HashKV computes.
type Hash struct {
	Hash            uint32
	Revision        int64 // the store's present revision
	CompactRevision int64 // -1 before the first compaction
	HashRevision    int64 // up to where the history was hashed
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// HashKV computes etcd's checksum of the history up to rev, zero for the
// present and less for no history at all: equal for equal histories, on every
// member and in etcd itself (its rule is in etcd's
// server/storage/mvcc/hash.go). It fails with ErrCompacted or ErrFuture.
// Writers are not held up.
func (s *Store) HashKV(rev int64) (Hash, error) {
	return s.HashKVPaced(rev, func() error { return nil })
}

// HashKVPaced is HashKV for those who have time: it calls pause between pieces
// of some MiB and ends with the error that pause returns.
func (s *Store) HashKVPaced(rev int64, pause func() error) (Hash, error) {
	h := Hash{Revision: s.Revision(), CompactRevision: s.Compacted()}
	switch {
	case rev > 0 && rev < h.CompactRevision:
		return h, ErrCompacted
	case rev > h.Revision:
		return h, ErrFuture
	case rev == 0:
		rev = h.Revision
	}
	h.HashRevision = rev
	live, err := s.Range(withEmpty, ReadOptions{Revision: rev, Limit: 1, KeysOnly: true})
	if err != nil {
		return h, err
	}
	// etcd skips what lies at or below the compaction unless it is the newest
	// version of its key at rev; when no key lives at rev it skips nothing
	// that its compaction has left, which is the newest at the compaction.
	keep := rev
	if len(live.Records) == 0 {
		keep = h.CompactRevision
	}
	crc := crc32.Update(0, castagnoli, []byte("key"))
	for from := int64(0); from <= rev; {
		var next int64
		if crc, next, err = s.hashChunk(crc, from, rev, h.CompactRevision, keep); err != nil {
			return h, err
		}
		from = next
		if err = pause(); err != nil {
			return h, err
		}
	}
	if h.CompactRevision != s.Compacted() {
		return s.HashKVPaced(rev, pause) // a compaction came between; it decides what counts
	}
	h.Hash = crc
	return h, nil
}

// hashChunk adds the history from revision from on, up to a bound.
func (s *Store) hashChunk(crc uint32, from, rev, compacted, keep int64) (uint32, int64, error) {
	changes, next, err := s.history(withEmpty, from, rev, chunkBytes)
	if err != nil {
		return 0, 0, err
	}
	old, recent := split(changes, compacted)
	kept, err := s.newestAt(old, keep)
	if err != nil {
		return 0, 0, err
	}
	if err := s.fetch(recent); err != nil {
		return 0, 0, err
	}
	for _, c := range append(kept, recent...) {
		if c.deleted && c.main == compacted {
			continue // older etcds remove it, newer ones keep it: it never counts
		}
		value := []byte(c.record)
		if c.deleted {
			value = encodeRecord(c.key, nil, 0, 0, 0, 0)
		}
		crc = crc32.Update(crc32.Update(crc, castagnoli, etcdRevision(c)), castagnoli, value)
	}
	return crc, next, nil
}

var everything = Range{Key: []byte{0}, End: []byte{0}}

// withEmpty has the empty key too, which nobody can put or read. Where a
// restore has raised the revision, its record stands for the revision.
var withEmpty = Range{End: []byte{0}}

// split parts changes, which are in order, behind a revision.
func split(changes []change, main int64) (old, recent []change) {
	for i, c := range changes {
		if c.main > main {
			return changes[:i], changes[i:]
		}
	}
	return changes, nil
}

// newestAt returns those of changes that are the newest of their key at main
// and no tombstone, in order and with their records.
func (s *Store) newestAt(changes []change, main int64) ([]change, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	probes := make([]change, len(changes))
	for i, c := range changes {
		probes[i] = change{revision: revision{main: main + 1}, key: c.key}
	}
	newest, err := s.previous(probes)
	if err != nil {
		return nil, err
	}
	var kept []change
	for i, c := range changes {
		if newest[i].main == c.main && !c.deleted {
			kept = append(kept, c)
		}
	}
	return kept, s.fetch(kept)
}

// etcdRevision is the key under which etcd keeps a change.
func etcdRevision(c change) []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(c.main))
	k = append(k, '_')
	k = binary.BigEndian.AppendUint64(k, uint64(c.sub))
	if c.deleted {
		k = append(k, 't')
	}
	return k
}
