// SPDX-License-Identifier: Apache-2.0

package api

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func rangeOp(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func putOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func deleteOp(key, end string) *pb.RequestOp {
	r := &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func txnOp(success, failure []*pb.RequestOp) *pb.RequestOp {
	r := &pb.TxnRequest{Success: success, Failure: failure}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

func ops(o ...*pb.RequestOp) []*pb.RequestOp { return o }

func repeat(n int, op *pb.RequestOp) []*pb.RequestOp {
	out := make([]*pb.RequestOp, n)
	for i := range out {
		out[i] = op
	}
	return out
}

func TestRequestsAreRefusedAsEtcdRefusesThem(t *testing.T) {
	key := []byte("k")
	txn := func(success ...*pb.RequestOp) error { return checkTxn(&pb.TxnRequest{Success: success}, 128) }
	cases := []struct {
		name      string
		got, want error
	}{
		{"range without a key", checkRange(&pb.RangeRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"range of all keys", checkRange(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}), nil},
		{"unknown sort order", checkRange(&pb.RangeRequest{Key: key, SortOrder: 9}), rpctypes.ErrGRPCInvalidSortOption},
		{"negative sort order", checkRange(&pb.RangeRequest{Key: key, SortOrder: -1}), rpctypes.ErrGRPCInvalidSortOption},
		{"unknown sort target", checkRange(&pb.RangeRequest{Key: key, SortTarget: 5}), rpctypes.ErrGRPCInvalidSortOption},
		{"key is looked at before sorting", checkRange(&pb.RangeRequest{SortTarget: 5}), rpctypes.ErrGRPCEmptyKey},
		{"put without a key", checkPut(&pb.PutRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"put without a value", checkPut(&pb.PutRequest{Key: key}), nil},
		{"value given and ignored", checkPut(&pb.PutRequest{Key: key, Value: key, IgnoreValue: true}), rpctypes.ErrGRPCValueProvided},
		{"lease given and ignored", checkPut(&pb.PutRequest{Key: key, Lease: 1, IgnoreLease: true}), rpctypes.ErrGRPCLeaseProvided},
		{"delete without a key", checkDeleteRange(&pb.DeleteRangeRequest{RangeEnd: key}), rpctypes.ErrGRPCEmptyKey},
		{"empty transaction", txn(), nil},
		{"as many operations as allowed", txn(repeat(128, putOp("k"))...), nil},
		{"one operation too many", txn(repeat(129, putOp("k"))...), rpctypes.ErrGRPCTooManyOps},
		{"too many compares", checkTxn(&pb.TxnRequest{Compare: make([]*pb.Compare, 3)}, 2), rpctypes.ErrGRPCTooManyOps},
		{"compare without a key", checkTxn(&pb.TxnRequest{Compare: []*pb.Compare{{}}}, 2), rpctypes.ErrGRPCEmptyKey},
		{"empty operation", txn(&pb.RequestOp{}), rpctypes.ErrGRPCKeyNotFound},
		{"missing operation", txn(nil), rpctypes.ErrGRPCKeyNotFound},
		{"bad range inside", txn(rangeOp(&pb.RangeRequest{})), rpctypes.ErrGRPCEmptyKey},
		{"range without content inside", txn(rangeOp(nil)), rpctypes.ErrGRPCEmptyKey},
		{"bad put in the failure branch", checkTxn(&pb.TxnRequest{Failure: ops(putOp(""))}, 128), rpctypes.ErrGRPCEmptyKey},
		{"nested within the budget", checkTxn(&pb.TxnRequest{Success: ops(txnOp(ops(putOp("a")), nil))}, 2), nil},
		{"nested beyond the budget", checkTxn(&pb.TxnRequest{Success: ops(txnOp(ops(putOp("a")), nil))}, 1), rpctypes.ErrGRPCTooManyOps},
		{"nested and wide beyond the budget", txn(repeat(100, txnOp(repeat(29, putOp("a")), nil))...), rpctypes.ErrGRPCTooManyOps},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.got != c.want {
				t.Fatalf("got %v, want %v", c.got, c.want)
			}
		})
	}
}

func TestRangeStreamRefusesWhatHasNoKeyOrder(t *testing.T) {
	key := []byte("k")
	cases := []struct {
		name string
		r    *pb.RangeRequest
		want codes.Code
	}{
		{"plain", &pb.RangeRequest{Key: key}, codes.OK},
		{"ascending keys", &pb.RangeRequest{Key: key, SortOrder: pb.RangeRequest_ASCEND}, codes.OK},
		{"descending keys", &pb.RangeRequest{Key: key, SortOrder: pb.RangeRequest_DESCEND}, codes.Unimplemented},
		{"by version", &pb.RangeRequest{Key: key, SortTarget: pb.RangeRequest_VERSION}, codes.Unimplemented},
		{"filtered", &pb.RangeRequest{Key: key, MinModRevision: 1}, codes.Unimplemented},
		{"no key", &pb.RangeRequest{}, codes.InvalidArgument},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := status.Code(checkRangeStream(c.r)); got != c.want {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAKeyIsWrittenOnceOnEveryPath(t *testing.T) {
	duplicate := rpctypes.ErrGRPCDuplicateKey
	cases := []struct {
		name string
		ops  []*pb.RequestOp
		want error
	}{
		{"two keys", ops(putOp("a"), putOp("b")), nil},
		{"same key twice", ops(putOp("a"), putOp("a")), duplicate},
		{"deleted and put", ops(deleteOp("a", ""), putOp("a")), duplicate},
		{"put and deleted after", ops(putOp("a"), deleteOp("a", "")), duplicate},
		{"put inside a deleted range", ops(deleteOp("a", "c"), putOp("b")), duplicate},
		{"put at the end of a deleted range", ops(deleteOp("a", "c"), putOp("c")), nil},
		{"put after a deleted key", ops(deleteOp("a", ""), putOp("a\x00")), nil},
		{"deleted twice", ops(deleteOp("a", "c"), deleteOp("b", "d")), nil},
		{"put inside the second of two ranges that meet", ops(deleteOp("b", "c"), deleteOp("a", "b"), putOp("b1")), duplicate},
		{"end below the start", ops(deleteOp("c", "a"), putOp("b")), nil},
		{"from a key to the last", ops(deleteOp("a", "\x00"), putOp("b")), duplicate},
		{"below what is deleted to the last", ops(deleteOp("b", "\x00"), putOp("a")), nil},
		{"everything deleted", ops(deleteOp("\x00", "\x00"), putOp("b")), duplicate},
		{"to the last within another range", ops(deleteOp("b", "c"), deleteOp("a", "\x00"), deleteOp("x", "y"), putOp("z")), duplicate},
		{"to the last above another range", ops(deleteOp("a", "b"), deleteOp("d", "\x00"), putOp("c")), nil},
		{"both branches of a nested transaction", ops(txnOp(ops(putOp("a")), ops(putOp("a")))), nil},
		{"nested and outside", ops(txnOp(ops(putOp("a")), nil), putOp("a")), duplicate},
		{"nested failure and outside", ops(txnOp(nil, ops(putOp("a"))), putOp("a")), duplicate},
		{"two nested", ops(txnOp(ops(putOp("a")), nil), txnOp(ops(putOp("a")), nil)), duplicate},
		{"failure of a later sibling", ops(txnOp(ops(putOp("a")), nil), txnOp(nil, ops(putOp("a")))), duplicate},
		{"nested deletion and a put outside", ops(txnOp(ops(deleteOp("a", "c")), nil), putOp("b")), duplicate},
		{"nested put and a deletion outside", ops(deleteOp("a", "c"), txnOp(ops(putOp("b")), nil)), duplicate},
		{"nested put and the deletion of an earlier sibling", ops(txnOp(ops(deleteOp("a", "c")), nil), txnOp(ops(putOp("b")), nil)), duplicate},
		{"nested put and the deletion of a later sibling", ops(txnOp(ops(putOp("b")), nil), txnOp(ops(deleteOp("a", "c")), nil)), duplicate},
		{"nested put and the deletion of a later sibling's failure", ops(txnOp(nil, ops(putOp("b"))), txnOp(nil, ops(deleteOp("a", "\x00")))), duplicate},
		{"put in one branch and deleted in the other", ops(txnOp(ops(putOp("b")), ops(deleteOp("a", "c")))), nil},
		{"nested twice", ops(txnOp(ops(txnOp(ops(putOp("a")), nil)), nil), putOp("a")), duplicate},
		{"bad inside a nested one", ops(txnOp(ops(putOp("a"), putOp("a")), nil)), duplicate},
		{"empty operations", ops(nil, &pb.RequestOp{}), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := checkOverlap(c.ops); err != c.want {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}
