// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cleatd/cleat/backup/file"
	"github.com/cleatd/cleat/lease"
)

// Field numbers of leasepb.Lease, which is a part of etcd's server alone.
const (
	leaseID        protowire.Number = 1
	leaseTTL       protowire.Number = 2
	leaseRemaining protowire.Number = 3 // zero: all of it
)

func encodeLease(l lease.Lease) (key, value []byte) {
	number := func(field protowire.Number, n int64) {
		if n != 0 {
			value = protowire.AppendVarint(protowire.AppendTag(value, field, protowire.VarintType), uint64(n))
		}
	}
	number(leaseID, l.ID)
	number(leaseTTL, l.TTL)
	if l.Remaining < l.TTL {
		number(leaseRemaining, l.Remaining)
	}
	return binary.BigEndian.AppendUint64(nil, uint64(l.ID)), value
}

func decodeLease(key, value []byte) (lease.Lease, error) {
	l := lease.Lease{}
	for rest := value; len(rest) > 0; {
		field, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return l, fmt.Errorf("%w: lease %x: %w", file.ErrDamaged, key, protowire.ParseError(n))
		}
		rest = rest[n:]
		number := uint64(0)
		if kind == protowire.VarintType {
			number, n = protowire.ConsumeVarint(rest)
		} else {
			n = protowire.ConsumeFieldValue(field, kind, rest)
		}
		if n < 0 {
			return l, fmt.Errorf("%w: lease %x: %w", file.ErrDamaged, key, protowire.ParseError(n))
		}
		rest = rest[n:]
		switch field {
		case leaseID:
			l.ID = int64(number)
		case leaseTTL:
			l.TTL = int64(number)
		case leaseRemaining:
			l.Remaining = int64(number)
		}
	}
	if len(key) != 8 || binary.BigEndian.Uint64(key) != uint64(l.ID) || l.ID == 0 || l.TTL <= 0 || l.TTL > lease.MaxTTL {
		return l, fmt.Errorf("%w: lease %x", file.ErrDamaged, key)
	}
	if l.Remaining <= 0 || l.Remaining > l.TTL {
		l.Remaining = l.TTL
	}
	return l, nil
}
