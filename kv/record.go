// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of mvccpb.KeyValue.
const (
	fieldKey     protowire.Number = 1
	fieldCreate  protowire.Number = 2
	fieldMod     protowire.Number = 3
	fieldVersion protowire.Number = 4
	fieldValue   protowire.Number = 5
	fieldLease   protowire.Number = 6
)

// Record is an encoded mvccpb.KeyValue, its fields in the order of their
// numbers and zero fields left out, as protobuf writes it. It goes from disk to
// wire as it is. Records are never changed; whoever gets one may keep it. The
// nil Record reads as a key that is not there.
type Record []byte

// NewRecord builds a record in memory of its own.
func NewRecord(key, value []byte, create, mod, version, lease int64) Record {
	return encodeRecord(key, value, create, mod, version, lease)
}

// encodeRecord builds a record in memory of its own.
func encodeRecord(key, value []byte, create, mod, version, lease int64) Record {
	r := make([]byte, 0, len(key)+len(value)+48)
	if len(key) > 0 {
		r = protowire.AppendTag(r, fieldKey, protowire.BytesType)
		r = protowire.AppendBytes(r, key)
	}
	r = appendNumber(r, fieldCreate, create)
	r = appendNumber(r, fieldMod, mod)
	r = appendNumber(r, fieldVersion, version)
	if len(value) > 0 {
		r = protowire.AppendTag(r, fieldValue, protowire.BytesType)
		r = protowire.AppendBytes(r, value)
	}
	return appendNumber(r, fieldLease, lease)
}

func appendNumber(b []byte, field protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

// field returns a field's content: the bytes of key and value, the number of
// the others. at is where the field begins in the record, len(r) if it has none.
func (r Record) field(want protowire.Number) (content []byte, number int64, at int) {
	for rest := []byte(r); len(rest) > 0; {
		at = len(r) - len(rest)
		field, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			break
		}
		rest = rest[n:]
		switch kind {
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(rest)
		case protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(rest)
			number = int64(v)
		default:
			n = -1
		}
		if n < 0 {
			break
		}
		if field == want {
			return content, number, at
		}
		if field > want {
			return nil, 0, at
		}
		rest = rest[n:]
	}
	return nil, 0, len(r)
}

// Key returns the key.
func (r Record) Key() []byte { k, _, _ := r.field(fieldKey); return k }

// Value returns the value.
func (r Record) Value() []byte {
	v, _, _ := r.field(fieldValue)
	return v
}

func (r Record) number(field protowire.Number) int64 {
	_, v, _ := r.field(field)
	return v
}

// CreateRevision returns the revision at which the key was created.
func (r Record) CreateRevision() int64 { return r.number(fieldCreate) }

// ModRevision returns the revision of this record.
func (r Record) ModRevision() int64 { return r.number(fieldMod) }

// Version counts the puts since the key was created.
func (r Record) Version() int64 { return r.number(fieldVersion) }

// Lease returns the lease that the key is attached to, zero for none.
func (r Record) Lease() int64 { return r.number(fieldLease) }

// withoutValue returns the record as keys_only wants it, in the same memory.
// etcd answers that from its index, which knows no leases.
func (r Record) withoutValue() Record {
	_, _, at := r.field(fieldValue)
	return r[:at:at]
}

// withLeaseOnly is withoutValue when etcd had to read the values to sort by
// them: then the lease remains.
func (r Record) withLeaseOnly() Record {
	return appendNumber(bytes.Clone(r.withoutValue()), fieldLease, r.Lease())
}
