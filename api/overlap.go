// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A transaction may write a key only once on any path through it. The check is
// etcd's to the letter, its gaps included: a nested transaction is compared
// with its parent's operations and with the siblings before it, and a range
// whose end is not above its start covers nothing, although "\x00" as an end
// means "to the last key" when the deletion is carried out.

// touched is what one branch writes: keys that are put, ranges that are deleted.
type touched struct {
	puts    map[string]struct{}
	deletes spans
}

// checkOverlap refuses a branch that puts a key twice, or puts what it deletes.
func checkOverlap(ops []*pb.RequestOp) (touched, error) {
	t := touched{puts: make(map[string]struct{}), deletes: deletedBy(ops)}
	for _, op := range ops {
		nested := op.GetRequestTxn()
		if nested == nil {
			continue
		}
		if err := t.addNested(nested); err != nil {
			return t, err
		}
	}
	for _, op := range ops {
		put := op.GetRequestPut()
		if put == nil {
			continue
		}
		key := string(put.Key)
		if _, twice := t.puts[key]; twice || t.deletes.contain(key) {
			return t, rpctypes.ErrGRPCDuplicateKey
		}
		t.puts[key] = struct{}{}
	}
	return t, nil
}

// addNested adds both branches of a nested transaction. Only one of them will
// happen, so a key may be put by both.
func (t *touched) addNested(nested *pb.TxnRequest) error {
	success, err := checkOverlap(nested.GetSuccess())
	if err != nil {
		return err
	}
	failure, err := checkOverlap(nested.GetFailure())
	if err != nil {
		return err
	}
	for key := range success.puts {
		if _, twice := t.puts[key]; twice || t.deletes.contain(key) {
			return rpctypes.ErrGRPCDuplicateKey
		}
		t.puts[key] = struct{}{}
	}
	for key := range failure.puts {
		_, twice := t.puts[key]
		_, exclusive := success.puts[key]
		if (twice && !exclusive) || t.deletes.contain(key) {
			return rpctypes.ErrGRPCDuplicateKey
		}
		t.puts[key] = struct{}{}
	}
	t.deletes = union(t.deletes, union(success.deletes, failure.deletes))
	return nil
}

func deletedBy(ops []*pb.RequestOp) spans {
	var out spans
	for _, op := range ops {
		r := op.GetRequestDeleteRange()
		if r == nil {
			continue
		}
		s := span{string(r.Key), string(r.RangeEnd)}
		if s.end == "" {
			s.end = s.start + "\x00"
		}
		if s.start < s.end {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b span) int { return strings.Compare(a.start, b.start) })
	return out.merged()
}

// span is the keys from start to before end.
type span struct{ start, end string }

// spans are sorted and do not touch, so that a look-up is a binary search and
// a request full of nested deletions costs no square of its size.
type spans []span

func (s spans) contain(key string) bool {
	i, at := slices.BinarySearchFunc(s, key, func(x span, key string) int { return strings.Compare(x.start, key) })
	return at || (i > 0 && key < s[i-1].end)
}

// merged joins neighbours that overlap or touch; s is sorted by start.
func (s spans) merged() spans {
	var out spans
	for _, x := range s {
		if n := len(out); n > 0 && x.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, x.end)
			continue
		}
		out = append(out, x)
	}
	return out
}

func union(a, b spans) spans {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	all := make(spans, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].start <= b[0].start {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...).merged()
}
