// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
)

// view is a consistent reading of the keys: a transaction's own, or the
// store's at one revision.
type view interface {
	Revision() int64
	Compacted() int64
	Range(kv.Range, kv.ReadOptions) (kv.Result, error)
	Latest(key []byte) (record kv.Record, found bool, err error)
}

// txnView reads inside a writing transaction, which sees its own changes. A
// disk's fault there surfaces when the batch is committed.
type txnView struct{ *kv.Txn }

func (v txnView) Latest(key []byte) (kv.Record, bool, error) {
	record, found := v.Txn.Latest(key)
	return record, found, nil
}

// pinned reads the store at one revision.
type pinned struct {
	store    *kv.Store
	revision int64
}

func (v pinned) Revision() int64  { return v.revision }
func (v pinned) Compacted() int64 { return v.store.Compacted() }

func (v pinned) Range(r kv.Range, o kv.ReadOptions) (kv.Result, error) {
	if o.Revision > v.revision {
		return kv.Result{}, kv.ErrFuture
	}
	if o.Revision <= 0 {
		o.Revision = v.revision
	}
	result, err := v.store.Range(r, o)
	result.Revision = v.revision
	return result, err
}

func (v pinned) Latest(key []byte) (kv.Record, bool, error) {
	result, err := v.Range(kv.Range{Key: key}, kv.ReadOptions{})
	if err != nil || len(result.Records) == 0 {
		return nil, false, err
	}
	return result.Records[0], true, nil
}

func rangeOf(key, end []byte) kv.Range { return kv.Range{Key: key, End: end} }

func readOptions(r *pb.RangeRequest) kv.ReadOptions {
	return kv.ReadOptions{
		Revision: r.Revision, Limit: r.Limit,
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
		SortOrder: r.SortOrder, SortTarget: r.SortTarget,
		MinMod: r.MinModRevision, MaxMod: r.MaxModRevision,
		MinCreate: r.MinCreateRevision, MaxCreate: r.MaxCreateRevision,
	}
}

// Range reads keys from this member's own state; the answer's Records stay out
// where its Frames hold the same. Who wants a linearizable answer calls raft's
// Sync first. It fails with kv.ErrCompacted or
// kv.ErrFuture for a revision that is not there, or as [auth.Rules.Read] does,
// or with step's error (see [kv.ReadOptions]; step may be nil).
func (m *Machine) Range(id Identity, r *pb.RangeRequest, step func(bytes int) error) (kv.Result, error) {
	o := readOptions(r)
	o.FramesOnly, o.Step = true, step
	for {
		by := m.settled()
		if err := by.mayRange(id, r); err != nil {
			return kv.Result{}, err
		}
		result, err := m.store.Range(rangeOf(r.Key, r.RangeEnd), o)
		if m.stillBy(by) {
			return result, err
		}
	}
}

func (r *rules) mayRange(id Identity, q *pb.RangeRequest) error {
	if err := r.Read(auth.Caller(id), q.Key, q.RangeEnd); err != nil {
		return err
	}
	return r.Current(auth.Caller(id))
}

// Stream is Range in pieces, all of one revision.
func (m *Machine) Stream(id Identity, r *pb.RangeRequest, step func(bytes int) error, fn func(kv.Result) error) error {
	by := m.settled()
	if err := by.mayRange(id, r); err != nil {
		return err
	}
	o := readOptions(r)
	o.Step = step
	return m.store.Stream(rangeOf(r.Key, r.RangeEnd), o, func(result kv.Result) error {
		if !m.stillBy(by) {
			by = m.settled()
			if err := by.mayRange(id, r); err != nil {
				return err
			}
		}
		return fn(result)
	})
}

// Txn answers a transaction that only reads (see [ReadOnly]) from this
// member's own state at one revision. Step is asked as in Range.
func (m *Machine) Txn(id Identity, r *pb.TxnRequest, step func(bytes int) error) (Reply, error) {
	for {
		by := m.settled()
		if err := m.permit(by, id).txn(r); err != nil {
			return Reply{}, err
		}
		if err := by.Current(auth.Caller(id)); err != nil {
			return Reply{}, err
		}
		v := pinned{m.store, m.store.Revision()}
		reply, err := m.readTxn(v, r, step)
		// A compaction at a later revision may overtake the pinned one
		// between two reads; the answer is then taken anew.
		if errors.Is(err, kv.ErrCompacted) && v.revision < m.store.Compacted() {
			continue
		}
		if m.stillBy(by) {
			return reply, err
		}
	}
}

// txnCopies is how often an answer within a transaction's is copied on its way
// into the answer around it, at most.
const txnCopies = 4

func (m *Machine) readTxn(v pinned, r *pb.TxnRequest, step func(bytes int) error) (Reply, error) {
	b, err := choose(v, r)
	if err != nil {
		return Reply{}, err
	}
	if err := checkTxn(v, m.leases, r, b); err != nil {
		return Reply{}, err
	}
	payload := appendBool(nil, txnSucceeded, b.succeeded)
	for _, op := range b.ops(r) {
		q := op.GetRequestRange()
		o := readOptions(q)
		o.FramesOnly = true
		if step != nil {
			o.Step = func(bytes int) error { return step((1 + txnCopies) * bytes) }
		}
		result, err := v.Range(rangeOf(q.GetKey(), q.GetRangeEnd()), o)
		if err != nil {
			return Reply{}, err
		}
		body := appendRange(appendHeader(nil, result.Revision), result)
		payload = appendBytes(payload, txnResponses, appendBytes(nil, opRange, body))
	}
	return Reply{Revision: v.revision, Payload: payload}, nil
}

// ReadOnly says whether a transaction holds nothing but ranges at its top
// level, on both branches. A nested transaction counts as a write.
func ReadOnly(r *pb.TxnRequest) bool {
	return onlyRanges(r.Success) && onlyRanges(r.Failure)
}

func onlyRanges(ops []*pb.RequestOp) bool {
	for _, op := range ops {
		if op.GetRequestRange() == nil {
			return false
		}
	}
	return true
}

// Serializable says whether every range of a read-only transaction asks for a
// local answer.
func Serializable(r *pb.TxnRequest) bool {
	for _, ops := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if q := op.GetRequestRange(); q == nil || !q.Serializable {
				return false
			}
		}
	}
	return true
}
