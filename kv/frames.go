// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"encoding/binary"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// frameTag precedes each record of an answer on the wire: it is the field kvs
// of etcdserverpb.RangeResponse.
const frameTag = 2<<3 | byte(protowire.BytesType)

// A large answer lies in blocks that double from the first size to the last.
const (
	firstBlock = 4 << 10
	lastBlock  = 256 << 10
)

// spare keeps blocks of the last size that were given back.
var spare = sync.Pool{New: func() any { b := make([]byte, 0, lastBlock); return &b }}

// Recycle takes back a frame of a [Result] of which nobody holds any record or
// frame any more. Without it the frame is left to the garbage collector.
func Recycle(frame *[]byte) {
	if cap(*frame) == lastBlock {
		*frame = (*frame)[:0]
		spare.Put(frame)
	}
}

// frames keeps the records of an answer in the form in which they go on the
// wire, tag and length before each: many records share a block of memory, and
// a door sends the blocks as they are.
type frames struct {
	blocks [][]byte
}

// add copies a record and returns the copy.
func (f *frames) add(r Record) Record {
	need := 1 + protowire.SizeBytes(len(r))
	last := len(f.blocks) - 1
	if last < 0 || cap(f.blocks[last])-len(f.blocks[last]) < need {
		f.blocks = append(f.blocks, f.next(need))
		last++
	}
	b := append(f.blocks[last], frameTag)
	b = binary.AppendUvarint(b, uint64(len(r)))
	at := len(b)
	b = append(b, r...)
	f.blocks[last] = b
	return Record(b[at:len(b):len(b)])
}

// next makes a block: just what one record needs at first, since most answers
// have one.
func (f *frames) next(need int) []byte {
	size := need
	switch n := len(f.blocks); n {
	case 0:
	case 1:
		size = max(need, firstBlock)
	default:
		size = max(need, min(2*cap(f.blocks[n-1]), lastBlock))
	}
	if size == lastBlock {
		return *spare.Get().(*[]byte)
	}
	return make([]byte, 0, size)
}
