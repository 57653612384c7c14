// SPDX-License-Identifier: Apache-2.0

package state

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestOnlyTransactionsThatStoreTakeRoom(t *testing.T) {
	op := func(r any) *pb.RequestOp {
		switch r := r.(type) {
		case *pb.PutRequest:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
		case *pb.TxnRequest:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r.(*pb.DeleteRangeRequest)}}
	}
	put := op(&pb.PutRequest{Key: []byte("key"), Value: []byte("value")})
	both := &pb.TxnRequest{Success: []*pb.RequestOp{put, put}, Failure: []*pb.RequestOp{put}}
	for name, c := range map[string]struct {
		txn  *pb.TxnRequest
		want int
	}{
		"empty":            {&pb.TxnRequest{}, 0},
		"deletes":          {&pb.TxnRequest{Success: []*pb.RequestOp{op(&pb.DeleteRangeRequest{}), {}}}, 0},
		"the larger one":   {both, 2 * 264},
		"in the failure":   {&pb.TxnRequest{Failure: []*pb.RequestOp{put}}, 264},
		"nested, and more": {&pb.TxnRequest{Failure: []*pb.RequestOp{op(both), put}}, 3 * 264},
	} {
		if got := TxnRoom(c.txn); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}
