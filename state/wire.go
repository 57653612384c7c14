// SPDX-License-Identifier: Apache-2.0

package state

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cleatd/cleat/kv"
)

// Field numbers of etcd's messages (etcdserverpb/rpc.proto). Records are
// copied as they lie on disk; nothing is decoded to be encoded again.
const (
	fieldHeader = 1

	rangeKVs, rangeMore, rangeCount = 2, 3, 4
	putPrevKV                       = 2
	deleteDeleted, deletePrevKVs    = 2, 3
	txnSucceeded, txnResponses      = 2, 3
	opRange, opPut, opDelete, opTxn = 1, 2, 3, 4
	grantID, grantTTL               = 2, 3
	headerRevision                  = 3
)

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func appendInt(b []byte, field protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

func appendBool(b []byte, field protowire.Number, v bool) []byte {
	if !v {
		return b
	}
	return appendInt(b, field, 1)
}

// appendHeader writes the header of a response inside a transaction, which
// carries a revision and nothing else.
func appendHeader(b []byte, revision int64) []byte {
	return appendBytes(b, fieldHeader, appendInt(nil, headerRevision, revision))
}

// appendRange writes the fields of a RangeResponse but its header.
func appendRange(b []byte, r kv.Result) []byte {
	if r.Frames != nil {
		for _, frame := range r.Frames {
			b = append(b, frame...)
		}
	} else {
		b = appendRecords(b, rangeKVs, r.Records)
	}
	b = appendBool(b, rangeMore, r.More)
	return appendInt(b, rangeCount, r.Count)
}

func appendRecords(b []byte, field protowire.Number, records []kv.Record) []byte {
	for _, record := range records {
		b = appendBytes(b, field, record)
	}
	return b
}
