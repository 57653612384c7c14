// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ErrOrder means that keys did not come in order.
var ErrOrder = errors.New("file: keys out of order")

// writeAhead is how much is handed to the disk at once.
const writeAhead = 1 << 20

// Writer writes a file, bucket by bucket, each in the order of its keys. It
// keeps its first error, which every call returns. It is for one goroutine.
type Writer struct {
	to    io.WriterAt
	ahead []byte // pages that come next
	next  uint64 // page, behind those

	tree    []*page // of the open bucket, leaf first; nil: none is open
	name    string
	last    []byte // key
	buckets []written
	err     error
}

type written struct {
	name string
	root uint64
}

// NewWriter returns the writer of a file that is empty.
func NewWriter(to io.WriterAt) *Writer {
	w := &Writer{to: to, ahead: make([]byte, 2*pageSize, writeAhead+2*pageSize), next: 2}
	w.write(&page{kind: kindFreelist})
	return w
}

// Bucket begins a bucket; the one before it is done.
func (w *Writer) Bucket(name string) error {
	w.endBucket()
	w.name, w.tree, w.last = name, []*page{{kind: kindLeaf}}, nil
	return w.err
}

// Put adds a key, which is behind the one before it: else the error is
// ErrOrder. It keeps neither key nor value.
func (w *Writer) Put(key, value []byte) error {
	if w.err == nil && w.last != nil && bytes.Compare(w.last, key) >= 0 {
		w.err = fmt.Errorf("%w: %x after %x in %s", ErrOrder, key, w.last, w.name)
	}
	if w.err != nil {
		return w.err
	}
	w.last = append(w.last[:0], key...)
	w.insert(0, item{key: key, value: value})
	return w.err
}

// Close ends the file and returns how large it is. It does not close what it
// writes to.
func (w *Writer) Close() (size int64, err error) {
	w.endBucket()
	slices.SortFunc(w.buckets, func(a, b written) int { return strings.Compare(a.name, b.name) })
	w.tree = []*page{{kind: kindLeaf}}
	for _, b := range w.buckets {
		header := order.AppendUint64(order.AppendUint64(nil, b.root), 0)
		w.insert(0, item{key: []byte(b.name), value: header, flags: bucketFlag})
	}
	root := w.endTree()
	w.flush()
	m := meta{pageSize: pageSize, root: root, freelist: 2, pages: w.next}
	for id := range uint64(2) {
		m.tx = id
		if w.err == nil {
			_, w.err = w.to.WriteAt(m.encode(id), int64(id)*pageSize)
		}
	}
	return int64(w.next) * pageSize, w.err
}

func (w *Writer) endBucket() {
	if w.tree == nil {
		return
	}
	w.buckets = append(w.buckets, written{w.name, w.endTree()})
	w.tree = nil
}

// endTree writes what is left of each level, and returns the root's page.
func (w *Writer) endTree() uint64 {
	for l := 0; l < len(w.tree)-1; l++ {
		w.pass(l)
	}
	return w.write(w.tree[len(w.tree)-1])
}

// item is what goes into a page: child for a branch, the rest for a leaf.
type item struct {
	key, value []byte
	flags      uint32
	child      uint64 // page
}

func (w *Writer) insert(level int, i item) {
	if level == len(w.tree) {
		w.tree = append(w.tree, &page{kind: kindBranch})
	}
	least := 1 + min(level, 1) // a branch of one would never lead to a root
	if p := w.tree[level]; p.count >= least && p.size()+element+len(i.key)+len(i.value) > pageSize {
		w.pass(level)
	}
	w.tree[level].add(i)
}

// pass writes a level's page and tells the level above.
func (w *Writer) pass(level int) {
	p := w.tree[level]
	id := w.write(p)
	w.insert(level+1, item{key: p.first, child: id})
	p.reset()
}

// write appends a page to the file and returns its number.
func (w *Writer) write(p *page) uint64 {
	id := w.next
	pages := (p.size() + pageSize - 1) / pageSize
	at := len(w.ahead)
	w.ahead = append(w.ahead, make([]byte, pages*pageSize)...)
	p.encode(w.ahead[at:], id, uint32(pages-1))
	w.next += uint64(pages)
	if len(w.ahead) >= writeAhead {
		w.flush()
	}
	return id
}

// flush hands the pages to the disk. The two meta pages are empty until Close.
func (w *Writer) flush() {
	if w.err == nil {
		_, w.err = w.to.WriteAt(w.ahead, int64(w.next)*pageSize-int64(len(w.ahead)))
	}
	w.ahead = w.ahead[:0]
}

// page is one that is being filled.
type page struct {
	kind  uint16
	count int
	heads []byte // elements; a position counts from where the contents begin
	body  []byte // keys and values
	first []byte // key
}

func (p *page) size() int { return pageHeader + len(p.heads) + len(p.body) }

func (p *page) add(i item) {
	if p.count == 0 {
		p.first = append(p.first[:0], i.key...)
	}
	p.count++
	if p.kind == kindLeaf {
		p.heads = order.AppendUint32(p.heads, i.flags)
	}
	p.heads = order.AppendUint32(p.heads, uint32(len(p.body)))
	p.heads = order.AppendUint32(p.heads, uint32(len(i.key)))
	if p.kind == kindLeaf {
		p.heads = order.AppendUint32(p.heads, uint32(len(i.value)))
	} else {
		p.heads = order.AppendUint64(p.heads, i.child)
	}
	p.body = append(append(p.body, i.key...), i.value...)
}

func (p *page) reset() {
	p.count, p.heads, p.body = 0, p.heads[:0], p.body[:0]
}

// encode writes the page. An element's position counts from the element.
func (p *page) encode(b []byte, id uint64, overflow uint32) {
	encodePageHeader(b, id, p.kind, uint16(p.count), overflow)
	at := 0 // of the position in an element
	if p.kind == kindLeaf {
		at = 4
	}
	for i := range p.count {
		position := p.heads[i*element+at:]
		order.PutUint32(position, order.Uint32(position)+uint32((p.count-i)*element))
	}
	n := copy(b[pageHeader:], p.heads)
	copy(b[pageHeader+n:], p.body)
}
