// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A read asks before it takes memory, and while it goes through keys that it
// takes none for; what it is told ends it.
func TestAReadAsksBeforeItGoesOn(t *testing.T) {
	s := newStore(t)
	const keys = 4 * stride
	b := s.NewBatch()
	defer b.Close()
	txn := b.Begin()
	for i := range keys {
		txn.Put(fmt.Appendf(nil, "k%06d", i), []byte(strings.Repeat("v", 1<<10)), 0)
	}
	txn.End()
	if err := b.Commit(1); err != nil {
		t.Fatal(err)
	}
	all, enough := Range{Key: []byte("k"), End: []byte("l")}, errors.New("enough")
	asked, steps := 0, 0
	step := func(bytes int) error {
		asked, steps = asked+bytes, steps+1
		return nil
	}
	r, err := s.Range(all, ReadOptions{FramesOnly: true, Step: step})
	has := 0
	for _, frame := range r.Frames {
		has += cap(frame)
	}
	if err != nil || has != asked || has < keys<<10 {
		t.Errorf("asked for %d bytes, took %d, %v", asked, has, err)
	}
	asked, steps = 0, 0
	if r, err := s.Range(all, ReadOptions{CountOnly: true, Step: step}); err != nil || r.Count != keys || asked != 0 || steps != keys/stride {
		t.Errorf("counted %d keys of %d, asked for %d bytes in %d steps, %v", r.Count, keys, asked, steps, err)
	}
	taken := 0
	_, err = s.Range(all, ReadOptions{Step: func(bytes int) error {
		if taken += bytes; taken > 100<<10 {
			return enough
		}
		return nil
	}})
	if !errors.Is(err, enough) || taken > 400<<10 {
		t.Errorf("took %d bytes, %v", taken, err)
	}
	pieces := 0
	err = s.Stream(all, ReadOptions{Step: step}, func(r Result) error {
		size := 0
		for _, record := range r.Records {
			size += len(record)
		}
		if pieces++; size > 2*chunkTarget {
			t.Errorf("a piece has %d bytes", size)
		}
		return nil
	})
	if err != nil || pieces < 2 {
		t.Errorf("%d pieces, %v", pieces, err)
	}
}

// How many keys a piece has follows from those before it, which say nothing of
// the size of what comes.
func TestAPieceOfAStreamIsBoundedWhateverFollows(t *testing.T) {
	s := newStore(t)
	b := s.NewBatch()
	defer b.Close()
	txn := b.Begin()
	for i := range 5000 {
		txn.Put(fmt.Appendf(nil, "k%06d", i), []byte("small"), 0)
	}
	const large = 1 << 20
	for i := range 40 {
		txn.Put(fmt.Appendf(nil, "l%06d", i), []byte(strings.Repeat("v", large)), 0)
	}
	txn.End()
	if err := b.Commit(1); err != nil {
		t.Fatal(err)
	}
	keys, largest := 0, 0
	err := s.Stream(Range{Key: []byte("k"), End: []byte("m")}, ReadOptions{}, func(r Result) error {
		size := 0
		for _, record := range r.Records {
			size += len(record)
		}
		keys, largest = keys+len(r.Records), max(largest, size)
		return nil
	})
	if err != nil || keys != 5040 || largest > maxChunk+2*large || largest < maxChunk {
		t.Errorf("%d keys, %d bytes in the largest piece, %v", keys, largest, err)
	}
}
