// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The defaults of both servers.
const (
	maxRequest = 1536 << 10
	overhead   = 512 << 10 // grpc takes so much more
)

func sized(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }

// Requests around what agreement takes and around what grpc takes. The command
// that is agreed on is a little larger than the request, by no more than slack,
// and not by the same in both.
func TestRequestSize(t *testing.T) { alike(t, both, requestSizes) }

func requestSizes(s *side) {
	const slack = 128
	for _, n := range []int{maxRequest - slack, maxRequest, maxRequest + slack, maxRequest + overhead - slack, maxRequest + overhead - 9} {
		s.ask(&pb.PutRequest{Key: []byte("a"), Value: sized(n)})
		s.ask(&pb.PutRequest{Key: sized(n)})
		s.ask(then(op(&pb.PutRequest{Key: []byte("b"), Value: sized(n)})))
		s.ask(del(string(sized(n)), ""))
		s.ask(get(string(sized(n)), ""), then(opGet(string(sized(n)), "")))
		s.ask(everything())
	}
	s.ask(put("a", "small"), everything())
}

// grpc itself says no to what is larger, and names the size.
func TestMessageSize(t *testing.T) {
	alike(t, both, func(s *side) {
		for _, n := range []int{maxRequest + overhead - 10, maxRequest + overhead - 9, maxRequest + overhead - 8, maxRequest + overhead, 4 << 20, 16 << 20} {
			s.ask(&pb.PutRequest{Key: []byte("a"), Value: sized(n)}, get(string(sized(n)), ""), &pb.RangeRequest{Key: sized(n)})
		}
		w := s.watch()
		w.create(&pb.WatchCreateRequest{Key: sized(maxRequest)})
		w.leave()
		s.ask(everything())
	})
}

// Answers have no limit.
func TestAnswerSize(t *testing.T) {
	alike(t, []door{socket}, func(s *side) {
		for i := range 12 {
			s.ask(&pb.PutRequest{Key: fmt.Appendf(nil, "k%02d", i), Value: sized(1 << 20)})
		}
		s.ask(everything(), then(opGet("k", "l"), opGet("k", "l")), &pb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: true})
	})
}

// Settings of a user's own.
func TestLimitsThatAreSet(t *testing.T) {
	t.Parallel()
	flags := []string{"--max-txn-ops=3", "--max-request-bytes=4096"}
	body := func(s *side) {
		for n := range 6 {
			r := &pb.TxnRequest{}
			for i := range n {
				r.Success = append(r.Success, opPut(fmt.Sprint("k", i), ""))
			}
			s.ask(r, then(op(r)), then(op(then(op(r)))))
		}
		for _, n := range []int{4096 - 200, 4096, 8192} {
			s.ask(put("a", string(sized(n))))
		}
		s.ask(put("a", string(sized(4096+overhead))), everything())
	}
	want, got := etcdDoor.open(t, flags...), socket.open(t, flags...)
	body(want)
	body(got)
	compare(t, got.transcript, want.transcript)
}

// The gateway has the limits of what is behind it.
func TestGatewaySize(t *testing.T) {
	alike(t, both, func(s *side) {
		for _, n := range []int{maxRequest - 128, maxRequest, maxRequest + overhead} {
			s.post("/v3/kv/put", fmt.Sprintf(`{"key":"@a","value":"@%s"}`, strings.Repeat("x", n)))
		}
		s.ask(&pb.RangeRequest{Key: []byte("a"), KeysOnly: true})
	})
}
