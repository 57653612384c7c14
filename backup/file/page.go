// SPDX-License-Identifier: Apache-2.0

package file

import (
	"encoding/binary"
	"hash/fnv"
)

const (
	pageSize   = 4096 // of what is written; what is read names its own
	pageHeader = 16
	element    = 16 // before the keys and values, one each

	kindBranch   = 0x01
	kindLeaf     = 0x02
	kindMeta     = 0x04
	kindFreelist = 0x10

	bucketFlag   = 0x01 // of a leaf's element whose value is a bucket
	bucketHeader = 16   // root page, sequence

	magic   = 0xED0CDAED
	version = 2

	metaSize  = 64
	metaSum   = 56 // where the checksum of what is before it lies
	firstData = 3  // page
)

var order = binary.LittleEndian

// meta is what a meta page says.
type meta struct {
	pageSize uint32
	root     uint64 // page of the buckets' names
	freelist uint64
	pages    uint64 // of the whole file
	tx       uint64 // the newer of two counts
}

// encodePageHeader writes a page's first bytes.
func encodePageHeader(b []byte, id uint64, kind, count uint16, overflow uint32) {
	order.PutUint64(b, id)
	order.PutUint16(b[8:], kind)
	order.PutUint16(b[10:], count)
	order.PutUint32(b[12:], overflow)
}

func (m meta) encode(id uint64) []byte {
	b := make([]byte, pageSize)
	encodePageHeader(b, id, kindMeta, 0, 0)
	c := b[pageHeader:]
	order.PutUint32(c, magic)
	order.PutUint32(c[4:], version)
	order.PutUint32(c[8:], m.pageSize)
	order.PutUint64(c[16:], m.root)
	order.PutUint64(c[32:], m.freelist)
	order.PutUint64(c[40:], m.pages)
	order.PutUint64(c[48:], m.tx)
	order.PutUint64(c[metaSum:], sum(c[:metaSum]))
	return b
}

// decodeMeta reads a meta page, if it is whole.
func decodeMeta(page []byte) (m meta, ok bool) {
	if len(page) < pageHeader+metaSize {
		return m, false
	}
	c := page[pageHeader:]
	if order.Uint32(c) != magic || order.Uint32(c[4:]) != version || order.Uint64(c[metaSum:]) != sum(c[:metaSum]) {
		return m, false
	}
	m = meta{
		pageSize: order.Uint32(c[8:]), root: order.Uint64(c[16:]), freelist: order.Uint64(c[32:]),
		pages: order.Uint64(c[40:]), tx: order.Uint64(c[48:]),
	}
	return m, true
}

func sum(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()
}

// Room returns how much of a file a key and its value may take, which have n
// bytes together; the last part of a page stays empty when the next does not
// fit.
func Room(n int64) int64 {
	n += element
	if n > pageSize/2 {
		return (n+pageHeader+pageSize-1)/pageSize*pageSize + pageSize/2
	}
	return n * pageSize / (pageSize - pageHeader - n)
}
