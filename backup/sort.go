// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A sorter puts pairs into the order of their keys. It keeps as much in memory
// as it may; what is more goes to its file as runs, each in order, which are
// merged in the end.
//
//	run: pairs, key and value with their lengths before them as varints
type sorter struct {
	file   *os.File
	memory int
	pause  func() error // called every some pairs

	held  []byte // pairs as in a run
	index []place
	runs  []span
	size  int64 // of the file
}

// place is where a pair lies in held, and the first bytes of its key.
type place struct {
	first uint64
	at    int
}

type span struct{ from, to int64 } // in the file

const (
	// minSortMemory is how much of what is sorted lies in memory, unless there
	// would be too many runs. It is small because a sort goes on without a pause.
	minSortMemory = 8 << 20
	maxSortMemory = 64 << 20
	runs          = 4096

	// The more runs there are, the less is read of each at once.
	minReadAhead = 4 << 10
	maxReadAhead = 256 << 10

	// pauseEvery is after how many pairs a pause is due.
	pauseEvery = 64
)

// newSorter returns a sorter of about size bytes.
func newSorter(file *os.File, size int64, pause func() error) *sorter {
	return &sorter{file: file, memory: int(min(max(size/runs, minSortMemory), maxSortMemory)), pause: pause}
}

// add takes a pair; it keeps neither key nor value.
func (s *sorter) add(key, value []byte) error {
	if need := len(key) + len(value) + 2*binary.MaxVarintLen32; len(s.held)+need > s.memory && len(s.held) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	if s.held == nil {
		s.held = make([]byte, 0, s.memory)
	}
	s.index = append(s.index, place{firstBytes(key), len(s.held)})
	s.held = appendPair(s.held, key, value)
	return nil
}

func firstBytes(key []byte) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

func appendPair(b, key, value []byte) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	return append(binary.AppendUvarint(b, uint64(len(value))), value...)
}

// pairAt cuts the first pair out of a run in memory.
func pairAt(b []byte) (key, value []byte, size int) {
	part := func() []byte {
		n, l := binary.Uvarint(b[size:])
		size += l + int(n)
		return b[size-int(n) : size]
	}
	key = part()
	value = part()
	return key, value, size
}

func (s *sorter) sort() {
	slices.SortFunc(s.index, func(a, b place) int {
		if c := cmp.Compare(a.first, b.first); c != 0 {
			return c
		}
		one, _, _ := pairAt(s.held[a.at:])
		other, _, _ := pairAt(s.held[b.at:])
		return bytes.Compare(one, other)
	})
}

// spill writes what is held to the file.
func (s *sorter) spill() error {
	s.sort()
	w := bufio.NewWriterSize(io.NewOffsetWriter(s.file, s.size), maxReadAhead)
	from := s.size
	for i, p := range s.index {
		if i%pauseEvery == 0 {
			if err := s.pause(); err != nil {
				return err
			}
		}
		_, _, size := pairAt(s.held[p.at:])
		s.size += int64(size)
		if _, err := w.Write(s.held[p.at : p.at+size]); err != nil {
			return fmt.Errorf("sort: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("sort: %w", err)
	}
	s.runs = append(s.runs, span{from, s.size})
	s.held, s.index = s.held[:0], s.index[:0]
	return nil
}

// each calls fn for all pairs, in order, and empties the sorter. The slices are
// valid during the call only. fn's error ends it.
func (s *sorter) each(fn func(key, value []byte) error) error {
	fn = s.paused(fn)
	if len(s.runs) == 0 {
		s.sort()
		for _, p := range s.index {
			key, value, _ := pairAt(s.held[p.at:])
			if err := fn(key, value); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	s.held, s.index = nil, nil
	ahead := min(max(s.memory/len(s.runs), minReadAhead), maxReadAhead)
	var heads merge
	for _, r := range s.runs {
		h := &head{from: bufio.NewReaderSize(io.NewSectionReader(s.file, r.from, r.to-r.from), ahead)}
		if err := h.next(); err != nil {
			return err
		}
		heads = append(heads, h)
	}
	heap.Init(&heads)
	var value []byte
	for len(heads) > 0 {
		h := heads[0]
		var err error
		if value, err = readPart(h.from, value); err != nil {
			return fmt.Errorf("sort: read: %w", noEOF(err))
		}
		if err := fn(h.key, value); err != nil {
			return err
		}
		err = h.next()
		switch {
		case errors.Is(err, io.EOF):
			heap.Pop(&heads)
		case err != nil:
			return err
		default:
			heap.Fix(&heads, 0)
		}
	}
	return nil
}

func (s *sorter) paused(fn func(key, value []byte) error) func(key, value []byte) error {
	n := 0
	return func(key, value []byte) error {
		if n++; n%pauseEvery == 0 {
			if err := s.pause(); err != nil {
				return err
			}
		}
		return fn(key, value)
	}
}

// head is the next key of a run. Its value comes next from there: there may be
// thousands of runs, and values of megabytes.
type head struct {
	from  *bufio.Reader
	first uint64
	key   []byte
}

// next reads the next key; the error is io.EOF behind the last.
func (h *head) next() error {
	var err error
	if h.key, err = readPart(h.from, h.key); err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return fmt.Errorf("sort: read: %w", err)
	}
	h.first = firstBytes(h.key)
	return nil
}

func readPart(r *bufio.Reader, into []byte) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	into = slices.Grow(into[:0], int(n))[:n]
	_, err = io.ReadFull(r, into)
	return into, noEOF(err)
}

// noEOF is for an end in the middle of something.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// merge is a heap of runs by their next keys.
type merge []*head

func (m merge) Len() int { return len(m) }
func (m merge) Less(i, j int) bool {
	if m[i].first != m[j].first {
		return m[i].first < m[j].first
	}
	return bytes.Compare(m[i].key, m[j].key) < 0
}
func (m merge) Swap(i, j int) { m[i], m[j] = m[j], m[i] }
func (m *merge) Push(any)     {} // a run is only ever taken out
func (m *merge) Pop() any {
	last := len(*m) - 1
	*m = (*m)[:last]
	return nil
}
