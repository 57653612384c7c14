// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrForeign: the file is something else.
	ErrForeign = errors.New("not an etcd snapshot")
	// ErrDamaged: the file is cut, or not as it was written.
	ErrDamaged = errors.New("damaged snapshot")
)

// Limits of what a file may name; bbolt knows the same sizes of pages.
const (
	minPage    = 1 << 10
	maxPage    = 64 << 10
	maxDepth   = 32
	maxBuckets = 100     // etcd has a dozen
	maxHeld    = 1 << 30 // bytes of the pages on the way to a leaf, which are in memory together
)

// Reader reads a file. It does not trust it: whatever the pages say, a walk
// reads no more bytes than the file has, and passes on none of them twice. One
// goroutine uses it at a time.
type Reader struct {
	from    io.ReaderAt
	meta    meta
	buckets []bucket
	seen    uint64 // pages during a walk: no tree has more than the file
}

// bucket has its own tree, or is so small that it lies in its parent's value.
type bucket struct {
	name   string
	root   uint64
	inline []byte
}

// NewReader finds the buckets of a file, of which size bytes are pages. The
// error is ErrForeign for something else than bbolt's pages, or else ErrDamaged.
func NewReader(from io.ReaderAt, size int64) (*Reader, error) {
	r := &Reader{from: from}
	if err := r.readMeta(size); err != nil {
		return nil, err
	}
	if have := uint64(size) / uint64(r.meta.pageSize); have < r.meta.pages {
		return nil, fmt.Errorf("%w: cut: it has %d of %d pages", ErrDamaged, have, r.meta.pages)
	}
	err := r.walk(r.meta.root, func(e entry) error {
		if e.flags&bucketFlag == 0 {
			return nil // etcd has none; not ours to refuse
		}
		if len(e.value) < bucketHeader {
			return fmt.Errorf("%w: bucket %q", ErrDamaged, e.key)
		}
		b := bucket{name: string(e.key), root: order.Uint64(e.value)}
		switch n := len(r.buckets); {
		case n == maxBuckets:
			return fmt.Errorf("%w: it has more than %d buckets", ErrForeign, maxBuckets)
		case n > 0 && r.buckets[n-1].name >= b.name:
			return fmt.Errorf("%w: bucket %q behind %q", ErrDamaged, b.name, r.buckets[n-1].name)
		}
		if b.root == 0 {
			b.inline = bytes.Clone(e.value[bucketHeader:])
		}
		r.buckets = append(r.buckets, b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Size returns how many bytes of the file are pages in use, as bbolt counts.
func (r *Reader) Size() int64 { return int64(r.meta.pages) * int64(r.meta.pageSize) }

// readMeta chooses the newer one of the two meta pages that is whole, as a
// crash of the process that wrote them may have torn one.
func (r *Reader) readMeta(size int64) error {
	head := make([]byte, min(size, maxPage+pageHeader+metaSize))
	if _, err := r.from.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(head) >= pageHeader+4 && order.Uint32(head[pageHeader:]) != magic && !bytes.Contains(head, order.AppendUint32(nil, magic)) {
		return fmt.Errorf("%w: it does not begin like one", ErrForeign)
	}
	found := false
	for at := 0; at < len(head); at = max(minPage, 2*at) { // the second lies at 1, 2, 4… KiB
		m, ok := decodeMeta(head[at:])
		if !ok || at != 0 && int(m.pageSize) != at || found && m.tx <= r.meta.tx {
			continue
		}
		r.meta, found = m, true
	}
	switch m := r.meta; {
	case len(head) < pageHeader+metaSize:
		return fmt.Errorf("%w: it has %d bytes", ErrForeign, size)
	case !found:
		return fmt.Errorf("%w: neither of its two first pages is whole", ErrDamaged)
	case m.pageSize < minPage || m.pageSize > maxPage || m.pageSize&(m.pageSize-1) != 0:
		return fmt.Errorf("%w: pages of %d bytes", ErrDamaged, m.pageSize)
	}
	return nil
}

// Buckets returns the names of the buckets, in order.
func (r *Reader) Buckets() []string {
	names := make([]string, len(r.buckets))
	for i, b := range r.buckets {
		names[i] = b.name
	}
	return names
}

// Walk calls fn for each key of a bucket, in order, and for none if there is no
// such bucket. The slices are valid during the call only. fn's error ends it;
// the others are ErrDamaged.
func (r *Reader) Walk(name string, fn func(key, value []byte) error) error {
	for _, b := range r.buckets {
		if b.name != name {
			continue
		}
		var last []byte
		each := func(e entry) error {
			if e.flags != 0 || last != nil && bytes.Compare(last, e.key) >= 0 {
				return fmt.Errorf("%w: key %x in bucket %s", ErrDamaged, e.key, name)
			}
			last = append(last[:0], e.key...)
			return fn(e.key, e.value)
		}
		if b.root == 0 {
			return r.inline(b, each)
		}
		return r.walk(b.root, each)
	}
	return nil
}

func (r *Reader) inline(b bucket, fn func(entry) error) error {
	l, err := parsePage(b.inline, 0)
	if err != nil || l.kind != kindLeaf {
		return fmt.Errorf("%w: bucket %q", ErrDamaged, b.name)
	}
	return l.each(fn)
}

func (r *Reader) walk(root uint64, fn func(entry) error) error {
	r.seen = 0
	return r.visit(root, 0, maxHeld, fn)
}

// visit walks the tree below a page, with so many bytes of memory.
func (r *Reader) visit(id uint64, depth int, room int64, fn func(entry) error) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: page %d leads in a circle", ErrDamaged, id)
	}
	p, err := r.page(id, room)
	if err != nil {
		return err
	}
	switch p.kind {
	case kindLeaf:
		return p.each(fn)
	case kindBranch:
		room -= int64(len(p.bytes))
		return p.each(func(e entry) error { return r.visit(e.child, depth+1, room, fn) })
	}
	return fmt.Errorf("%w: page %d is of kind %#x", ErrDamaged, id, p.kind)
}

// page reads a page, with those that are a part of it, of room bytes at most.
func (r *Reader) page(id uint64, room int64) (parsed, error) {
	if id < 2 || id >= r.meta.pages {
		return parsed{}, fmt.Errorf("%w: page %d of %d", ErrDamaged, id, r.meta.pages)
	}
	size := int64(r.meta.pageSize)
	b := make([]byte, size)
	if _, err := r.from.ReadAt(b, int64(id)*size); err != nil {
		return parsed{}, fmt.Errorf("read page %d: %w", id, err)
	}
	more := int64(order.Uint32(b[12:]))
	switch r.seen += 1 + uint64(more); {
	case uint64(more) >= r.meta.pages-id:
		return parsed{}, fmt.Errorf("%w: page %d reaches beyond the end", ErrDamaged, id)
	case r.seen > r.meta.pages:
		return parsed{}, fmt.Errorf("%w: page %d leads in a circle, or lies in another", ErrDamaged, id)
	case (1+more)*size > room:
		return parsed{}, fmt.Errorf("%w: page %d has %d bytes", ErrDamaged, id, (1+more)*size)
	}
	if more > 0 {
		b = append(b, make([]byte, more*size)...)
		if _, err := r.from.ReadAt(b[size:], int64(id+1)*size); err != nil {
			return parsed{}, fmt.Errorf("read page %d: %w", id, err)
		}
	}
	return parsePage(b, id)
}

// parsed is a page that has been read.
type parsed struct {
	id    uint64
	kind  uint16
	count int
	bytes []byte
}

// entry is one element of a page: child for a branch, the rest for a leaf.
type entry struct {
	key, value []byte
	flags      uint32
	child      uint64
}

func parsePage(b []byte, id uint64) (parsed, error) {
	if len(b) < pageHeader || order.Uint64(b) != id {
		return parsed{}, fmt.Errorf("%w: page %d is not itself", ErrDamaged, id)
	}
	p := parsed{id: id, kind: order.Uint16(b[8:]), count: int(order.Uint16(b[10:])), bytes: b}
	if pageHeader+p.count*element > len(b) {
		return parsed{}, fmt.Errorf("%w: page %d has %d elements", ErrDamaged, id, p.count)
	}
	return p, nil
}

// each calls fn for each element. Their keys and values lie one behind the
// other, as bbolt writes them: else few bytes could say more than there is time
// to read.
func (p parsed) each(fn func(entry) error) error {
	free := uint64(pageHeader + p.count*element)
	for i := range p.count {
		begin := pageHeader + i*element
		head := p.bytes[begin : begin+element]
		var e entry
		var at, keySize, valueSize uint64
		if p.kind == kindLeaf {
			e.flags = order.Uint32(head)
			at, keySize, valueSize = uint64(order.Uint32(head[4:])), uint64(order.Uint32(head[8:])), uint64(order.Uint32(head[12:]))
		} else {
			at, keySize, e.child = uint64(order.Uint32(head)), uint64(order.Uint32(head[4:])), order.Uint64(head[8:])
		}
		at += uint64(begin)
		if at < free || at+keySize+valueSize > uint64(len(p.bytes)) {
			return fmt.Errorf("%w: element %d of page %d", ErrDamaged, i, p.id)
		}
		free = at + keySize + valueSize
		e.key = p.bytes[at : at+keySize]
		e.value = p.bytes[at+keySize : at+keySize+valueSize]
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}
