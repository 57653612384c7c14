// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// askStream asks for a range in pieces and writes down what they come to and
// how the first begins. How many keys the others have is the server's choice.
func (s *side) askStream(r *pb.RangeRequest) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	stream, err := pb.NewKVClient(s.conn).RangeStream(s.bearing(ctx), s.rebased(r).(*pb.RangeRequest))
	if err != nil {
		s.Fatal(err)
	}
	merged, chunks := &pb.RangeResponse{}, 0
	var first string
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			s.note("stream "+describe(r), first+outcome(r, merged, nil))
			return
		}
		if err != nil {
			s.note("stream "+describe(r), first+refusal(err))
			return
		}
		if merged.Header != nil || merged.Count != 0 || merged.More {
			s.Errorf("%s: stream %s: what ends the answer is in chunk %d, which is not the last", s.name, describe(r), chunks-1)
		}
		if chunks++; chunks == 1 {
			first = fmt.Sprintf("first %d keys; ", len(m.RangeResponse.Kvs))
		}
		proto.Merge(merged, m.RangeResponse)
	}
}

func TestRangeStreamWithEachTwoOptions(t *testing.T) {
	alike(t, both, func(s *side) {
		history(s)
		for _, w := range windows {
			for _, m := range pairs(w) {
				if r := m.(*pb.RangeRequest); r.SortTarget == pb.RangeRequest_KEY || r.SortOrder != pb.RangeRequest_NONE {
					s.askStream(r)
				}
			}
		}
		for target := pb.RangeRequest_VERSION; target <= pb.RangeRequest_VALUE; target++ {
			s.excused("stream by a target", func() {
				s.askStream(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), SortTarget: target})
			})
		}
	})
}

// More keys than a chunk begins with, and values that fill chunks of their own.
func TestRangeStreamOfManyKeys(t *testing.T) {
	alike(t, both, func(s *side) {
		for i := range 20 {
			s.ask(fill(i))
		}
		large := make([]byte, 300<<10)
		for i := range 12 {
			s.ask(&pb.PutRequest{Key: fmt.Appendf(nil, "m%02d", i), Value: large[i:]})
		}
		for _, w := range []window{{"k", "l"}, {"m", "n"}, {"\x00", "\x00"}, {"k05", "k06"}} {
			for _, limit := range []int64{0, 1, 9, 10, 11, 99, 1999, 2000, 2001} {
				for _, name := range []string{"", "keys only", "count only", "past", "serializable"} {
					r := get(w.key, w.end)
					options[name](r)
					r.Limit = limit
					s.askStream(r)
				}
			}
		}
	})
}
