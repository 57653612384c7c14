// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/lease"
)

// permit decides for one caller, as etcd does: in its order, with its refusals.
type permit struct {
	rules  *auth.Rules
	caller auth.Caller
	leases *lease.Table
	keys   lease.Reader // what is attached to leases

	// writes are the leases all of whose keys the caller may write, as far as a
	// transaction has found out: it may name one lease with each of its puts.
	writes map[int64]bool
}

func (a *applier) permit() permit {
	return permit{rules: a.rules, caller: a.caller, leases: a.machine.leases, keys: leaseTable{a.batch}}
}

func (m *Machine) permit(by *rules, id Identity) permit {
	return permit{rules: by.Rules, caller: auth.Caller(id), leases: m.leases, keys: leaseReader{m.store}}
}

// put asks for the key, for what else the lease would take with it, and for
// what was there if that is to be told.
func (p permit) put(r *pb.PutRequest) error {
	if err := p.rules.Write(p.caller, r.Key, nil); err != nil {
		return err
	}
	if r.Lease != 0 {
		if err := p.writeLease(r.Lease); err != nil {
			return err
		}
	}
	if !r.PrevKv {
		return nil
	}
	return p.rules.Read(p.caller, r.Key, nil)
}

func (p permit) deleteRange(r *pb.DeleteRangeRequest) error {
	if err := p.rules.Write(p.caller, r.Key, r.RangeEnd); err != nil || !r.PrevKv {
		return err
	}
	return p.rules.Read(p.caller, r.Key, r.RangeEnd)
}

// txn asks for both branches: what is compared must not be found out by which
// of them is refused.
func (p permit) txn(r *pb.TxnRequest) error {
	if !p.rules.Enabled {
		return nil
	}
	if p.writes == nil {
		p.writes = make(map[int64]bool) // the nested ones share it
	}
	for _, c := range r.GetCompare() {
		if err := p.rules.Read(p.caller, c.Key, c.RangeEnd); err != nil {
			return err
		}
	}
	for _, ops := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range ops {
			if err := p.op(op); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p permit) op(op *pb.RequestOp) error {
	switch {
	case op.GetRequestRange() != nil:
		return p.rules.Read(p.caller, op.GetRequestRange().Key, op.GetRequestRange().RangeEnd)
	case op.GetRequestPut() != nil:
		return p.put(op.GetRequestPut())
	case op.GetRequestDeleteRange() != nil:
		return p.deleteRange(op.GetRequestDeleteRange())
	case op.GetRequestTxn() != nil:
		return p.txn(op.GetRequestTxn())
	}
	return nil
}

// writeLease asks for all keys of a lease, which end with it. One that is not
// there has none.
func (p permit) writeLease(id int64) error {
	if p.writes[id] || p.rules.Admin(p.caller) == nil {
		return nil
	}
	keys, err := p.leases.Keys(p.keys, id)
	if errors.Is(err, lease.ErrNotFound) {
		return nil
	}
	for _, key := range keys {
		if err := p.rules.Write(p.caller, key, nil); err != nil {
			return err
		}
	}
	if err == nil && p.writes != nil {
		p.writes[id] = true
	}
	return err
}

// readLease returns the keys of a lease, which are told, to who may read all of
// them. They are looked at once: another may be attached at any time.
func (p permit) readLease(id int64) ([][]byte, error) {
	keys, err := p.leases.Keys(p.keys, id)
	if err != nil || p.rules.Admin(p.caller) == nil {
		return keys, err
	}
	for _, key := range keys {
		if err := p.rules.Read(p.caller, key, nil); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// MayWatch says whether a caller may see what happens to keys from now on.
func (m *Machine) MayWatch(id Identity, key, end []byte) error {
	return m.Rules().Read(auth.Caller(id), key, end)
}

// MayRenew says whether a caller may keep a lease's keys alive.
func (m *Machine) MayRenew(id Identity, lease int64) error {
	return m.named(id, func(p permit) error { return p.writeLease(lease) })
}

// LeaseKeys returns the keys attached to a lease, in order, to who may read all
// of them. It fails with lease.ErrNotFound.
func (m *Machine) LeaseKeys(id Identity, lease int64) (keys [][]byte, err error) {
	err = m.named(id, func(p permit) (err error) {
		keys, err = p.readLease(lease)
		return err
	})
	return keys, err
}

// ListLeases returns all leases by ID: as etcd has it, to who may read all of
// their keys.
func (m *Machine) ListLeases(id Identity) (all []lease.Lease, err error) {
	err = m.named(id, func(p permit) error {
		all = m.leases.All()
		if p.rules.Admin(p.caller) == nil {
			return nil
		}
		for _, l := range all {
			if _, err := p.readLease(l.ID); err != nil && !errors.Is(err, lease.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// named decides about a caller who gave a name, by one set of rules.
func (m *Machine) named(id Identity, decide func(permit) error) error {
	for {
		by := m.settled()
		if err := by.Named(auth.Caller(id)); err != nil {
			return err
		}
		err := decide(m.permit(by, id))
		if m.stillBy(by) {
			return err
		}
	}
}
