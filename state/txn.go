// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
)

// A transaction is decided before it is done, as etcd does it: first all
// compares, those of nested transactions too, choose the branches on the state
// as it was; then every request on the chosen branches is checked; only then
// anything is written. So a refused transaction has changed nothing.

// branches is the outcome of the compares: one transaction's, and those of the
// nested transactions on its chosen branch, in order.
type branches struct {
	succeeded bool
	nested    []branches
}

func choose(v view, r *pb.TxnRequest) (branches, error) {
	holds, err := compareAll(v, r.GetCompare())
	if err != nil {
		return branches{}, err
	}
	b := branches{succeeded: holds}
	for _, op := range b.ops(r) {
		nested := op.GetRequestTxn()
		if nested == nil {
			continue
		}
		n, err := choose(v, nested)
		if err != nil {
			return branches{}, err
		}
		b.nested = append(b.nested, n)
	}
	return b, nil
}

// ops returns the requests on the chosen branch.
func (b branches) ops(r *pb.TxnRequest) []*pb.RequestOp {
	if b.succeeded {
		return r.GetSuccess()
	}
	return r.GetFailure()
}

// checkTxn refuses a transaction whose chosen branch cannot be carried out.
func checkTxn(v view, leases *lease.Table, r *pb.TxnRequest, b branches) error {
	nested := b.nested
	for _, op := range b.ops(r) {
		var err error
		switch {
		case op.GetRequestRange() != nil:
			err = checkRevision(v, op.GetRequestRange().Revision)
		case op.GetRequestPut() != nil:
			err = checkPut(v, leases, op.GetRequestPut())
		case op.GetRequestTxn() != nil:
			err = checkTxn(v, leases, op.GetRequestTxn(), nested[0])
			nested = nested[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkRevision is etcd's rule for ranges inside a transaction: zero is now;
// a negative one is compared like any other.
func checkRevision(v view, revision int64) error {
	switch {
	case revision == 0:
		return nil
	case revision > v.Revision():
		return kv.ErrFuture
	case revision < v.Compacted():
		return kv.ErrCompacted
	}
	return nil
}

func checkPut(v view, leases *lease.Table, r *pb.PutRequest) error {
	if r.IgnoreValue && len(r.Value) != 0 {
		return ErrValueProvided
	}
	if r.IgnoreLease && r.Lease != 0 {
		return ErrLeaseProvided
	}
	if r.Lease != 0 {
		if _, known := leases.Lookup(r.Lease); !known {
			return lease.ErrNotFound
		}
	}
	if !r.IgnoreValue && !r.IgnoreLease {
		return nil
	}
	_, found, err := v.Latest(r.Key)
	if err == nil && !found {
		err = ErrKeyNotFound
	}
	return err
}

// writer carries out requests inside one kv transaction.
type writer struct {
	applier *applier
	txn     *kv.Txn
}

func (w writer) checkPut(r *pb.PutRequest) error {
	return checkPut(txnView{w.txn}, w.applier.machine.leases, r)
}

func (a *applier) txn(r *pb.TxnRequest) (Reply, error) {
	t := a.batch.Begin()
	defer t.End()
	if err := a.permit().txn(r); err != nil {
		return Reply{}, err
	}
	v := txnView{t}
	b, err := choose(v, r)
	if err != nil {
		return Reply{}, err
	}
	if err := checkTxn(v, a.machine.leases, r, b); err != nil {
		return Reply{}, err
	}
	payload, err := writer{a, t}.txnBranch(nil, r, b)
	return Reply{Revision: t.Revision(), Payload: payload}, err
}

// txnBranch appends a TxnResponse, but its header, to dst.
func (w writer) txnBranch(dst []byte, r *pb.TxnRequest, b branches) ([]byte, error) {
	dst = appendBool(dst, txnSucceeded, b.succeeded)
	nested := b.nested
	for _, op := range b.ops(r) {
		var (
			body []byte
			err  error
		)
		switch {
		case op.GetRequestRange() != nil:
			body, err = w.rangeOp(op.GetRequestRange())
		case op.GetRequestPut() != nil:
			body, err = w.putOp(op.GetRequestPut())
		case op.GetRequestDeleteRange() != nil:
			body, err = w.deleteOp(op.GetRequestDeleteRange())
		case op.GetRequestTxn() != nil:
			// etcd leaves the header of a nested transaction empty.
			body, err = w.txnBranch(appendBytes(nil, fieldHeader, nil), op.GetRequestTxn(), nested[0])
			body, nested = appendBytes(nil, opTxn, body), nested[1:]
		}
		if err != nil {
			return nil, faultInTxn(err)
		}
		dst = appendBytes(dst, txnResponses, body)
	}
	return dst, nil
}

func (w writer) rangeOp(r *pb.RangeRequest) ([]byte, error) {
	result, err := w.txn.Range(rangeOf(r.Key, r.RangeEnd), readOptions(r))
	if err != nil {
		return nil, err
	}
	return appendBytes(nil, opRange, appendRange(appendHeader(nil, result.Revision), result)), nil
}

func (w writer) putOp(r *pb.PutRequest) ([]byte, error) {
	body, err := w.put(nil, r)
	if err != nil {
		return nil, err
	}
	return appendBytes(nil, opPut, append(appendHeader(nil, w.txn.Revision()), body...)), nil
}

func (w writer) deleteOp(r *pb.DeleteRangeRequest) ([]byte, error) {
	body, err := w.deleteRange(nil, r)
	if err != nil {
		return nil, err
	}
	return appendBytes(nil, opDelete, append(appendHeader(nil, w.txn.Revision()), body...)), nil
}

// put stores a key that checkPut has let pass, and appends the PutResponse.
func (w writer) put(dst []byte, r *pb.PutRequest) ([]byte, error) {
	value, leaseID := r.Value, r.Lease
	if r.IgnoreValue || r.IgnoreLease {
		if old, found := w.txn.Latest(r.Key); found {
			if r.IgnoreValue {
				value = old.Value()
			}
			if r.IgnoreLease {
				leaseID = old.Lease()
			}
		}
	}
	previous := w.txn.Put(r.Key, value, leaseID)
	var oldLease int64
	if previous != nil {
		oldLease = previous.Lease()
	}
	if err := w.applier.attach(r.Key, oldLease, leaseID); err != nil {
		return nil, fmt.Errorf("attach a key to a checked lease: %v", err)
	}
	if r.PrevKv && previous != nil {
		dst = appendBytes(dst, putPrevKV, previous)
	}
	return dst, nil
}

func (w writer) deleteRange(dst []byte, r *pb.DeleteRangeRequest) ([]byte, error) {
	removed := w.txn.Delete(rangeOf(r.Key, r.RangeEnd), r.PrevKv)
	for _, record := range removed {
		if err := w.applier.attach(record.Key(), record.Lease(), 0); err != nil {
			return nil, fmt.Errorf("detach a deleted key: %v", err)
		}
	}
	dst = appendInt(dst, deleteDeleted, int64(len(removed)))
	if r.PrevKv {
		dst = appendRecords(dst, deletePrevKVs, removed)
	}
	return dst, nil
}

// isRefusal says whether an error is the request's fault, the same on every
// member, rather than the disk's.
func isRefusal(err error) bool {
	if errors.Is(err, ErrCommand) {
		return false
	}
	for _, sentinel := range resultErrors {
		if sentinel != nil && errors.Is(err, sentinel) {
			return true
		}
	}
	return false
}

// faultInTxn hides the sentinels of an error met after the checks have passed:
// what then fails is the disk or a bug, and the member must stop rather than
// answer with half a transaction in its batch.
func faultInTxn(err error) error {
	return fmt.Errorf("state: transaction failed after its checks: %v", err)
}
