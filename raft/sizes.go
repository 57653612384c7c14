// SPDX-License-Identifier: Apache-2.0

package raft

import "sort"

// sizes answers how many of the newest entries fit into so many bytes, without
// remembering every entry: it marks an index each markBytes.
type sizes struct {
	total int64 // bytes of all entries ever added
	last  uint64
	marks []mark
}

// A mark says that the entries above index begin after total bytes.
type mark struct {
	index uint64
	total int64
}

const markBytes = 256 << 10

func (s *sizes) add(index uint64, bytes int64) {
	if n := len(s.marks); n == 0 || s.total-s.marks[n-1].total >= markBytes {
		s.marks = append(s.marks, mark{index - 1, s.total})
	}
	s.total += bytes
	s.last = index
}

// remove forgets entries at the head, or at the tail, of what was added.
func (s *sizes) remove(first, last uint64) {
	if last >= s.last {
		n := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].index >= first })
		s.marks = s.marks[:n]
		s.last = min(s.last, first-1)
		return
	}
	n := sort.Search(len(s.marks), func(i int) bool { return s.marks[i].index >= last })
	s.marks = append(s.marks[:0], s.marks[min(n, len(s.marks)):]...)
}

// newest counts the entries above the oldest mark that is at most keep bytes
// from the end.
func (s *sizes) newest(keep int64) uint64 {
	n := sort.Search(len(s.marks), func(i int) bool { return s.total-s.marks[i].total <= keep })
	if n == len(s.marks) {
		return 0
	}
	return s.last - s.marks[n].index
}
