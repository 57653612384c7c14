// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bytes"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// large writes n keys in one transaction, as much as a request may be.
func large(fill byte, n int) *pb.TxnRequest {
	r := &pb.TxnRequest{}
	for i := range n {
		r.Success = append(r.Success, opPut(fmt.Sprintf("k%02d", i), string(bytes.Repeat([]byte{fill}, 1400<<10/n))))
	}
	return r
}

// With their previous values the events of a full transaction no longer fit in
// one response, which a watcher may get in pieces.
func TestWatchFragments(t *testing.T) {
	alike(t, both, func(s *side) {
		w := s.watch()
		w.exact = true
		var ids []int64
		for _, fragment := range []bool{true, false} {
			for _, previous := range []bool{true, false} {
				ids = append(ids, w.create(&pb.WatchCreateRequest{
					Key: []byte("k"), RangeEnd: []byte("l"), Fragment: fragment, PrevKv: previous,
				}))
			}
		}
		for i, r := range []proto.Message{large('a', 100), large('b', 100), large('c', 7), large('d', 1), large('e', 1), put("k", "small")} {
			s.ask(r)
			for _, id := range ids {
				w.until(id, int64(i+2))
			}
		}
		w.leave()
	})
}

// A long history comes as whole revisions, whatever a response may hold.
func TestWatchLongHistory(t *testing.T) {
	alike(t, []door{socket}, func(s *side) {
		for i := range 40 {
			s.ask(fill(i % 30))
		}
		for i := range 8 {
			s.ask(large('a'+byte(i), 3))
		}
		w := s.watch()
		for _, from := range []int64{2, 20, 45} {
			for _, fragment := range []bool{true, false} {
				id := w.create(&pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: from, Fragment: fragment})
				w.until(id, 49)
			}
		}
		s.ask(put("k", "live"))
		for id := range int64(6) {
			w.until(id, 50)
		}
		w.leave()
	})
}
