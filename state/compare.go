// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"cmp"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/kv"
)

func compareAll(v view, compares []*pb.Compare) (bool, error) {
	for _, c := range compares {
		if holds, err := compareOne(v, c); err != nil || !holds {
			return false, err
		}
	}
	return true, nil
}

// compareOne decides one compare. With a range end it must hold for every key
// in the range. A missing key compares as zeros, but its value equals nothing.
func compareOne(v view, c *pb.Compare) (bool, error) {
	if len(c.RangeEnd) == 0 {
		record, found, err := v.Latest(c.Key)
		if err != nil || (!found && c.Target == pb.Compare_VALUE) {
			return false, err
		}
		return compareRecord(c, record), nil
	}
	result, err := v.Range(rangeOf(c.Key, c.RangeEnd), kv.ReadOptions{})
	if err != nil {
		return false, ignoreRevisions(err)
	}
	if len(result.Records) == 0 {
		return c.Target != pb.Compare_VALUE && compareRecord(c, nil), nil
	}
	for _, record := range result.Records {
		if !compareRecord(c, record) {
			return false, nil
		}
	}
	return true, nil
}

// ignoreRevisions drops faults that a read of the present cannot have.
func ignoreRevisions(err error) error {
	if errors.Is(err, kv.ErrCompacted) || errors.Is(err, kv.ErrFuture) {
		return nil
	}
	return err
}

// compareRecord compares one record, nil standing for a key that is not there.
func compareRecord(c *pb.Compare, r kv.Record) bool {
	var order int
	switch c.Target {
	case pb.Compare_VALUE:
		order = bytes.Compare(r.Value(), c.GetValue())
	case pb.Compare_CREATE:
		order = cmp.Compare(r.CreateRevision(), c.GetCreateRevision())
	case pb.Compare_MOD:
		order = cmp.Compare(r.ModRevision(), c.GetModRevision())
	case pb.Compare_VERSION:
		order = cmp.Compare(r.Version(), c.GetVersion())
	case pb.Compare_LEASE:
		order = cmp.Compare(r.Lease(), c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return order == 0
	case pb.Compare_NOT_EQUAL:
		return order != 0
	case pb.Compare_GREATER:
		return order > 0
	case pb.Compare_LESS:
		return order < 0
	}
	return true // etcd lets an unknown result hold
}
