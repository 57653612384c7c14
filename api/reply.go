// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/binary"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/state"
)

// Tags of the fields that are spliced, as they stand on the wire
// (etcdserverpb/rpc.proto): field number and wire type in one byte.
const (
	tagHeader = 1<<3 | byte(protowire.BytesType)

	tagHeaderCluster  = 1<<3 | byte(protowire.VarintType)
	tagHeaderMember   = 2<<3 | byte(protowire.VarintType)
	tagHeaderRevision = 3<<3 | byte(protowire.VarintType)
	tagHeaderTerm     = 4<<3 | byte(protowire.VarintType)

	tagRangeRecord = 2<<3 | byte(protowire.BytesType)
	tagRangeMore   = 3<<3 | byte(protowire.VarintType)
	tagRangeCount  = 4<<3 | byte(protowire.VarintType)

	tagStreamRange = 1<<3 | byte(protowire.BytesType)
)

// maxHeader is the room that a header takes at most: tag and length, and four
// numbers. It stays below 128, so that its length is one byte.
const maxHeader = 2 + 4*(1+binary.MaxVarintLen64)

// header makes the ResponseHeader that every answer begins with.
type header struct {
	cluster, member uint64
	fixed           []byte // the two in wire form
	term            func() uint64
}

func newHeader(cluster, member uint64, term func() uint64) header {
	fixed := appendNumber(nil, tagHeaderCluster, cluster)
	return header{cluster, member, appendNumber(fixed, tagHeaderMember, member), term}
}

// append writes the header as field 1 of the message that b begins.
func (h header) append(b []byte, revision int64) []byte {
	at := len(b)
	b = append(b, tagHeader, 0)
	b = append(b, h.fixed...)
	b = appendNumber(b, tagHeaderRevision, uint64(revision))
	b = appendNumber(b, tagHeaderTerm, h.term())
	b[at+1] = byte(len(b) - at - 2)
	return b
}

// message is the header for answers that are not spliced.
func (h header) message(revision int64) *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: h.cluster, MemberId: h.member, Revision: revision, RaftTerm: h.term()}
}

// reply puts the header in front of what state answered.
func (h header) reply(r state.Reply) wire {
	b := make([]byte, 0, maxHeader+len(r.Payload))
	return append(h.append(b, r.Revision), r.Payload...)
}

// parts is reply without a copy of what state answered, whose memory l is.
func (h header) parts(r state.Reply, l *load) parts {
	front := mem.SliceBuffer(h.append(make([]byte, 0, maxHeader), r.Revision))
	return parts{front, mem.NewBuffer(&r.Payload, l)}
}

// records writes a RangeResponse around records as they lie on disk. Their
// memory is l, if that is not nil.
func (h header) records(r kv.Result, l *load) parts {
	return around(h.append(make([]byte, 0, maxHeader), r.Revision), r, l)
}

// chunk writes a RangeStreamResponse. Only the last of a stream has a header,
// and the totals with it.
func (h header) chunk(r kv.Result, last bool) parts {
	var head []byte
	if last {
		head = h.append(make([]byte, 0, maxHeader), r.Revision)
	} else {
		r.More, r.Count = false, 0
	}
	body := len(head) + recordsSize(r)
	front := append(make([]byte, 0, maxHeader+1+binary.MaxVarintLen64), tagStreamRange)
	return around(append(binary.AppendUvarint(front, uint64(body)), head...), r, nil)
}

// copied is the size up to which an answer is put together in one buffer;
// beyond that the memory that its records lie in is sent as it is.
const copied = 16 << 10

// around puts the front before the rest of a RangeResponse.
func around(front []byte, r kv.Result, l *load) parts {
	var pool mem.BufferPool = framePool{}
	if l != nil {
		pool = l
	}
	size := len(front) + recordsSize(r)
	if size > copied && r.Frames != nil {
		p := make(parts, 0, len(r.Frames)+2)
		p = append(p, mem.SliceBuffer(front))
		for i := range r.Frames {
			p = append(p, mem.NewBuffer(&r.Frames[i], pool))
		}
		if totals := appendTotals(nil, r); len(totals) > 0 {
			p = append(p, mem.SliceBuffer(totals))
		}
		return p
	}
	fill := func(b []byte) []byte { return appendTotals(appendRecords(append(b, front...), r), r) }
	if l != nil {
		b := fill(make([]byte, 0, size))
		return parts{mem.NewBuffer(&b, l)}
	}
	return pooled(size, fill)
}

// framePool gives frames back to the store when they are sent. Nobody else has
// them: a door passes on what it was given and keeps nothing.
type framePool struct{}

func (framePool) Get(size int) *[]byte { b := make([]byte, size); return &b }
func (framePool) Put(b *[]byte)        { kv.Recycle(b) }

// pooled fills a buffer of at most size bytes; grpc returns it to the pool
// once it is sent.
func pooled(size int, fill func([]byte) []byte) parts {
	pool := mem.DefaultBufferPool()
	b := pool.Get(size)
	*b = fill((*b)[:0])
	return parts{mem.NewBuffer(b, pool)}
}

// recordsSize is what appendRecords and appendTotals will write.
func recordsSize(r kv.Result) int {
	size := numberSize(uint64(r.Count))
	if r.More {
		size += 2
	}
	if r.Frames != nil {
		for _, frame := range r.Frames {
			size += len(frame)
		}
		return size
	}
	for _, record := range r.Records {
		size += 1 + protowire.SizeBytes(len(record))
	}
	return size
}

func appendRecords(b []byte, r kv.Result) []byte {
	if r.Frames != nil {
		for _, frame := range r.Frames {
			b = append(b, frame...)
		}
		return b
	}
	for _, record := range r.Records {
		b = append(b, tagRangeRecord)
		b = binary.AppendUvarint(b, uint64(len(record)))
		b = append(b, record...)
	}
	return b
}

func appendTotals(b []byte, r kv.Result) []byte {
	if r.More {
		b = append(b, tagRangeMore, 1)
	}
	return appendNumber(b, tagRangeCount, uint64(r.Count))
}

// appendNumber writes a number field; zero is left out, as protobuf does.
func appendNumber(b []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, tag), v)
}

func numberSize(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}
