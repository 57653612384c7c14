// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A transaction may change a key only once on any path through it. The check is
// etcd's, without its gaps. etcd does not see that a range with "\x00" as its
// end has no end, nor what a nested transaction deletes after a sibling has put
// it; so it lets a key be deleted and put at one revision, loses it when that
// revision is compacted, and dies of it at the next read. Versions here are
// told apart by their revision, so a key cannot have two at one.

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
	for key := range t.puts {
		if success.deletes.contain(key) || failure.deletes.contain(key) {
			return rpctypes.ErrGRPCDuplicateKey
		}
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
		switch s.end {
		case "":
			s.end = s.start + "\x00"
		case "\x00":
			s.end = ""
		}
		if s.reaches(s.start) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b span) int { return strings.Compare(a.start, b.start) })
	return out.merged()
}

// span is the keys from start to before end; an empty end is none.
type span struct{ start, end string }

// reaches says whether a key at or above the start is in the span.
func (s span) reaches(key string) bool { return s.end == "" || key < s.end }

// spans are sorted and do not touch, so that a look-up is a binary search and
// a request full of nested deletions costs no square of its size.
type spans []span

func (s spans) contain(key string) bool {
	i, at := slices.BinarySearchFunc(s, key, func(x span, key string) int { return strings.Compare(x.start, key) })
	return at || (i > 0 && s[i-1].reaches(key))
}

// merged joins neighbours that overlap or touch; s is sorted by start.
func (s spans) merged() spans {
	var out spans
	for _, x := range s {
		n := len(out)
		if n == 0 || (!out[n-1].reaches(x.start) && x.start != out[n-1].end) {
			out = append(out, x)
			continue
		}
		out[n-1].end = later(out[n-1].end, x.end)
	}
	return out
}

// later is the end of two that is further on.
func later(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	return max(a, b)
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
