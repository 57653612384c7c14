// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestCompact(t *testing.T) { alike(t, both, compactions) }

func compactions(s *side) {
	// An empty store has revision 1 and nothing else.
	for _, revision := range []int64{-1, 0, 2, 1, 1} {
		s.ask(&pb.CompactionRequest{Revision: revision})
	}
	for _, key := range []string{"a", "b", "a", "c", "b", "a"} { // up to 7
		s.ask(put(key, "of "+key))
	}
	s.ask(del("b", ""), put("b", "back"), del("c", "")) // 10
	for _, r := range []*pb.CompactionRequest{
		{Revision: 4}, {Revision: 4}, {Revision: 3}, {Revision: 0}, {Revision: -7}, {Revision: 11}, {Revision: 11, Physical: true},
		{Revision: 8, Physical: true}, {Revision: 8, Physical: true}, {Revision: 10}, {Revision: 10},
	} {
		s.ask(r)
		readBack(s, 11)
	}
	s.ask(put("a", "after"), &pb.CompactionRequest{Revision: 11, Physical: true})
	readBack(s, 12)
}

// readBack reads everything at every revision.
func readBack(s *side, to int64) {
	for revision := int64(-1); revision <= to; revision++ {
		s.ask(&pb.RangeRequest{Key: []byte("\x00"), RangeEnd: []byte("\x00"), Revision: revision})
	}
}

// The hash is over what a compaction leaves, so it says that both keep the
// same and not only answer the same.
func TestHashAfterEachCompaction(t *testing.T) {
	alike(t, []door{socket}, func(s *side) {
		s.ask(&pb.HashKVRequest{})
		history(s)
		s.ask(then(opPut("g", "1"), opDelete("a", "b"), opPut("h", "2")), del("\x00", "\x00"), put("a", "new"), del("a", ""), put("z", ""))
		hashes(s, 8)
		for compacted := int64(9); compacted <= 21; compacted++ {
			s.ask(&pb.CompactionRequest{Revision: compacted, Physical: true})
			hashes(s, compacted)
		}
	})
}

// hashes asks for the hash at every revision that no compaction has removed.
func hashes(s *side, compacted int64) {
	for at := int64(-1); at <= 22; at++ {
		if at <= 0 || at > compacted {
			s.ask(&pb.HashKVRequest{Revision: at})
		}
	}
	s.excused("hash of a compaction", func() { s.ask(&pb.HashKVRequest{Revision: compacted}) })
}
