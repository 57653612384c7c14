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
	if size := f.grow(r); size > 0 {
		f.blocks = append(f.blocks, block(size))
	}
	last := len(f.blocks) - 1
	b := append(f.blocks[last], frameTag)
	b = binary.AppendUvarint(b, uint64(len(r)))
	at := len(b)
	b = append(b, r...)
	f.blocks[last] = b
	return Record(b[at:len(b):len(b)])
}

// grow is the size of the block that add would begin, zero if it needs none:
// just what one record needs at first, since most answers have one.
func (f *frames) grow(r Record) int {
	need := 1 + protowire.SizeBytes(len(r))
	switch n := len(f.blocks); {
	case n == 0:
		return need
	case cap(f.blocks[n-1])-len(f.blocks[n-1]) >= need:
		return 0
	case n == 1:
		return max(need, firstBlock)
	default:
		return max(need, min(2*cap(f.blocks[n-1]), lastBlock))
	}
}

func block(size int) []byte {
	if size == lastBlock {
		return *spare.Get().(*[]byte)
	}
	return make([]byte, 0, size)
}
