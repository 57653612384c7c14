// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/cockroachkvs"
)

// format is the first byte of every value on disk.
const format = 1

// The first byte of every key on disk.
const (
	spaceKeys    = 'k'
	spaceHistory = 'r'
	spaceTables  = 't'
	spaceMeta    = 'm'
)

var errDamaged = errors.New("kv: damaged record")

// revision is a place in the history: main counts transactions, sub the
// changes of one.
type revision struct {
	main int64
	sub  uint32
}

// versionOf is the version under which a key's record lies.
func versionOf(main int64, deleted bool) uint64 {
	v := uint64(main) << 1
	if deleted {
		v |= 1
	}
	return v
}

// newestUpTo is the version from which to seek for the newest record at or
// below main.
func newestUpTo(main int64) uint64 { return uint64(main)<<1 | 1 }

// appendPrefix appends the part of a record's key that all versions share.
func appendPrefix(dst, key []byte) []byte {
	dst = append(dst, spaceKeys)
	dst = append(dst, key...)
	return append(dst, 0)
}

func appendVersioned(dst, key []byte, version uint64) []byte {
	return cockroachkvs.AppendTimestamp(appendPrefix(dst, key), version, 0)
}

// splitVersioned undoes appendVersioned. The key shares the memory of k.
func splitVersioned(k []byte) (key []byte, main int64, deleted bool, err error) {
	const suffix = 9
	if len(k) < 2+suffix || k[0] != spaceKeys || k[len(k)-1] != suffix || k[len(k)-suffix-1] != 0 {
		return nil, 0, false, fmt.Errorf("%w: key %x", errDamaged, k)
	}
	version := binary.BigEndian.Uint64(k[len(k)-suffix:])
	return k[1 : len(k)-suffix-1], int64(version >> 1), version&1 != 0, nil
}

// encodeVersioned is the value under a versioned key; a tombstone has no
// record.
func encodeVersioned(sub uint32, r Record) []byte {
	v := make([]byte, 0, 6+len(r))
	v = append(v, format)
	v = binary.AppendUvarint(v, uint64(sub))
	return append(v, r...)
}

func decodeVersioned(v []byte) (sub uint32, r Record, err error) {
	if len(v) < 2 || v[0] != format {
		return 0, nil, fmt.Errorf("%w: value of %d bytes", errDamaged, len(v))
	}
	n, size := binary.Uvarint(v[1:])
	if size <= 0 || n > 1<<32-1 {
		return 0, nil, fmt.Errorf("%w: sub-revision", errDamaged)
	}
	return uint32(n), Record(v[1+size:]), nil
}

func historyKey(r revision) []byte {
	k := make([]byte, 0, 14)
	k = append(k, spaceHistory)
	k = binary.BigEndian.AppendUint64(k, uint64(r.main))
	k = binary.BigEndian.AppendUint32(k, r.sub)
	return append(k, 0)
}

func splitHistory(k []byte) (revision, error) {
	if len(k) != 14 || k[0] != spaceHistory {
		return revision{}, fmt.Errorf("%w: history key %x", errDamaged, k)
	}
	return revision{int64(binary.BigEndian.Uint64(k[1:])), binary.BigEndian.Uint32(k[9:])}, nil
}

const (
	kindPut    = 0
	kindDelete = 1
)

func encodeHistory(key []byte, deleted bool) []byte {
	v := make([]byte, 0, 2+len(key))
	kind := byte(kindPut)
	if deleted {
		kind = kindDelete
	}
	return append(append(v, format, kind), key...)
}

func decodeHistory(v []byte) (key []byte, deleted bool, err error) {
	if len(v) < 2 || v[0] != format || v[1] > kindDelete {
		return nil, false, fmt.Errorf("%w: history value of %d bytes", errDamaged, len(v))
	}
	return v[2:], v[1] == kindDelete, nil
}

func tableKey(table byte, key []byte) []byte {
	k := make([]byte, 0, len(key)+3)
	k = append(k, spaceTables, table)
	k = append(k, key...)
	return append(k, 0)
}

func metaKey(name string) []byte { return append(append([]byte{spaceMeta}, name...), 0) }

// encodeNumber is the value of every meta key.
func encodeNumber(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{format}, n)
}

func decodeNumber(v []byte) (uint64, error) {
	if len(v) != 9 || v[0] != format {
		return 0, fmt.Errorf("%w: number of %d bytes", errDamaged, len(v))
	}
	return binary.BigEndian.Uint64(v[1:]), nil
}
