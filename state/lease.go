// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
)

// leaseTable lets the lease package keep itself in the batch being applied.
type leaseTable struct{ batch *kv.Batch }

func (t leaseTable) Set(key, value []byte) { t.batch.Set(tableLease, key, value) }
func (t leaseTable) Delete(key []byte)     { t.batch.Delete(tableLease, key) }
func (t leaseTable) Scan(prefix []byte, fn func(key, value []byte) error) error {
	return t.batch.Scan(tableLease, prefix, fn)
}

func (a *applier) grant(r *pb.LeaseGrantRequest) (Reply, error) {
	if err := a.machine.leases.Grant(leaseTable{a.batch}, r.ID, r.TTL, a.index); err != nil {
		return Reply{}, err
	}
	payload := appendInt(nil, grantID, r.ID)
	payload = appendInt(payload, grantTTL, r.TTL)
	return Reply{Revision: a.revision(), Payload: payload}, nil
}

func (a *applier) revokeRequest(r *pb.LeaseRevokeRequest) (Reply, error) {
	if err := a.permit().writeLease(r.ID); err != nil {
		return Reply{}, err
	}
	return a.revoke(r.ID)
}

// revoke ends a lease and deletes its keys, in key order, in one revision.
func (a *applier) revoke(id int64) (Reply, error) {
	keys, err := a.machine.leases.Revoke(leaseTable{a.batch}, id)
	if err != nil {
		return Reply{}, err
	}
	t := a.batch.Begin()
	defer t.End()
	for _, key := range keys {
		t.Delete(kv.Range{Key: key}, false)
	}
	return Reply{Revision: t.Revision()}, nil
}

func (a *applier) expire(body []byte) (Reply, error) {
	numbers, err := readUvarints(body, 2)
	if err != nil {
		return Reply{}, err
	}
	for n := range slices.Chunk(numbers, 2) {
		r := lease.Ref{ID: int64(n[0]), Granted: n[1]}
		if !a.machine.leases.Holds(r) {
			continue
		}
		if _, err := a.revoke(r.ID); err != nil {
			return Reply{}, err
		}
	}
	return Reply{Revision: a.revision()}, nil
}

func (a *applier) checkpoint(body []byte) (Reply, error) {
	numbers, err := readUvarints(body, 3)
	if err != nil {
		return Reply{}, err
	}
	for n := range slices.Chunk(numbers, 3) {
		r := lease.Ref{ID: int64(n[0]), Granted: n[1]}
		err := a.machine.leases.Checkpoint(leaseTable{a.batch}, r, int64(n[2]))
		if err != nil && !errors.Is(err, lease.ErrNotFound) {
			return Reply{}, err
		}
	}
	return Reply{Revision: a.revision()}, nil
}

// attach moves a key from the lease of its previous record to another; zero is
// no lease.
func (a *applier) attach(key []byte, from, to int64) error {
	if from == to {
		return nil
	}
	if from != 0 {
		a.machine.leases.Detach(leaseTable{a.batch}, from, key)
	}
	if to == 0 {
		return nil
	}
	return a.machine.leases.Attach(leaseTable{a.batch}, to, key)
}
