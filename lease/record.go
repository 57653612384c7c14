// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The records, under whatever table the state machine gives them:
//
//	'l' <id, 8 bytes big-endian>         -> version, varint TTL, varint remaining,
//	                                        uvarint granted
//	'a' <id, 8 bytes big-endian> <key>   -> version
//
// Attachments exist only there: a lease may hold any number of keys, and the
// keys' records name their lease already.
const (
	kindLease      = 'l'
	kindAttachment = 'a'

	recordVersion = 1
	prefixLen     = 1 + 8
)

func leaseKey(id int64) []byte { return prefix(kindLease, id) }

func attachmentKey(id int64, key []byte) []byte {
	return append(prefix(kindAttachment, id), key...)
}

func prefix(kind byte, id int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(id))
}

func encode(l Lease) []byte {
	b := binary.AppendVarint([]byte{recordVersion}, l.TTL)
	b = binary.AppendVarint(b, l.Remaining)
	return binary.AppendUvarint(b, l.Granted)
}

var errDamaged = errors.New("damaged")

func decode(key, value []byte) (Lease, error) {
	if len(key) != prefixLen || key[0] != kindLease {
		return Lease{}, fmt.Errorf("lease: record %x: key is %w", key, errDamaged)
	}
	rest, err := stripVersion(value)
	if err != nil {
		return Lease{}, fmt.Errorf("lease: record %x: %w", key, err)
	}
	l := Lease{ID: int64(binary.BigEndian.Uint64(key[1:]))}
	var n, m, o int
	if l.TTL, n = binary.Varint(rest); n > 0 {
		l.Remaining, m = binary.Varint(rest[n:])
	}
	if m > 0 {
		l.Granted, o = binary.Uvarint(rest[n+m:])
	}
	if o <= 0 || n+m+o != len(rest) || l.Granted == 0 {
		return Lease{}, fmt.Errorf("lease: record %x: value is %w", key, errDamaged)
	}
	return l, nil
}

func stripVersion(value []byte) ([]byte, error) {
	switch {
	case len(value) == 0 || value[0] == 0:
		return nil, fmt.Errorf("value is %w", errDamaged)
	case value[0] > recordVersion:
		return nil, fmt.Errorf("%w: %d", ErrFormat, value[0])
	}
	return value[1:], nil
}
