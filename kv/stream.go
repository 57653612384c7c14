// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"
	"errors"
	"math"
)

const (
	firstChunk  = 10         // keys in a stream's first piece
	chunkTarget = 1536 << 10 // bytes that a piece should have

	// maxChunk ends a piece whatever it should have: where small values are
	// followed by large ones the number of keys says nothing. A first piece of
	// the largest values fits.
	maxChunk = firstChunk * chunkTarget
)

// Stream is [Store.Range] in pieces: fn is called with one after the other, in
// key order, all of one revision. Count and More are filled in the last piece,
// Revision in all. Memory is bounded by a piece. How many keys a piece has is
// etcd's rule, up to maxChunk. It takes neither an order nor bounds, and Step is
// asked as in Range. A compaction that overtakes the stream ends it with
// ErrCompacted; fn's error ends it too.
func (s *Store) Stream(r Range, o ReadOptions, fn func(Result) error) error {
	if o.CountOnly {
		res, err := s.Range(r, o)
		if err != nil {
			return err
		}
		return fn(res)
	}
	rev := s.Revision()
	main, err := o.at(rev, s.Compacted())
	if err != nil {
		return err
	}
	left := o.Limit
	if left <= 0 {
		left = math.MaxInt64
	}
	count := int64(0)
	for size := min(firstChunk, left); ; {
		c := newCollector(ReadOptions{Limit: size, KeysOnly: o.KeysOnly, Step: o.Step})
		c.piece = maxChunk
		if err := s.read(r, main, c); err != nil && !errors.Is(err, errFull) {
			return err
		}
		res := Result{Records: c.records, Frames: c.frames.blocks, Revision: rev}
		count, left = count+int64(len(c.records)), left-int64(len(c.records))
		more := c.count > int64(len(c.records))
		if !more || left == 0 {
			res.More, res.Count = more, count
			if more {
				rest, err := s.Range(after(r, c.records), ReadOptions{Revision: main, CountOnly: true, Step: o.Step})
				if err != nil {
					return err
				}
				res.Count += rest.Count
			}
			return fn(res)
		}
		r = after(r, c.records)
		size = min(nextChunk(size, c.records), left)
		if err := fn(res); err != nil {
			return err
		}
	}
}

// after returns what is left of a range behind the last of records.
func after(r Range, records []Record) Range {
	last := records[len(records)-1].Key()
	return Range{Key: append(bytes.Clone(last), 0), End: r.End}
}

// nextChunk doubles or halves a chunk that was far from the target; between
// half and twice the target it stays.
func nextChunk(size int64, records []Record) int64 {
	total := 0
	for _, r := range records {
		total += len(r)
	}
	switch {
	case total < chunkTarget/2:
		return size * 2
	case total > chunkTarget*2:
		return max(size/2, 1)
	}
	return size
}
