// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"
	"math/rand/v2"
)

// span is a node in a tree of half-open ranges, ordered by start, then by end.
// Each node knows the highest end below it, so that a search leaves out what
// ends too early; random weights, highest on top, keep the tree flat (a treap).
// The nil span is the empty tree.
type span struct {
	start, end  []byte // a nil end: there is none
	spot        spot
	weight      uint32
	top         []byte // the highest end in this subtree; nil if one has none
	left, right *span
}

// insert returns the tree with the range in it, and the range's spot.
func (t *span) insert(start, end []byte) (*span, *spot) {
	if t == nil {
		t = &span{start: start, end: end, top: end, weight: rand.Uint32()}
		return t, &t.spot
	}
	var s *spot
	switch order := t.compare(start, end); {
	case order == 0:
		return t, &t.spot
	case order < 0:
		t.left, s = t.left.insert(start, end)
		if t.left.weight > t.weight {
			t = t.rotateRight()
		}
	default:
		t.right, s = t.right.insert(start, end)
		if t.right.weight > t.weight {
			t = t.rotateLeft()
		}
	}
	t.measure()
	return t, s
}

// remove returns the tree without the range, which is in it.
func (t *span) remove(start, end []byte) *span {
	switch order := t.compare(start, end); {
	case order == 0:
		return merge(t.left, t.right)
	case order < 0:
		t.left = t.left.remove(start, end)
	default:
		t.right = t.right.remove(start, end)
	}
	t.measure()
	return t
}

// match appends the spots of the ranges that key is in.
func (t *span) match(spots []*spot, key []byte) []*spot {
	if t == nil || !before(key, t.top) {
		return spots
	}
	spots = t.left.match(spots, key)
	if bytes.Compare(key, t.start) < 0 {
		return spots
	}
	if before(key, t.end) {
		spots = append(spots, &t.spot)
	}
	return t.right.match(spots, key)
}

// merge joins two trees of which all of a is before all of b.
func merge(a, b *span) *span {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.weight > b.weight:
		a.right = merge(a.right, b)
		a.measure()
		return a
	}
	b.left = merge(a, b.left)
	b.measure()
	return b
}

func (t *span) rotateRight() *span {
	up := t.left
	t.left, up.right = up.right, t
	t.measure()
	return up
}

func (t *span) rotateLeft() *span {
	up := t.right
	t.right, up.left = up.left, t
	t.measure()
	return up
}

func (t *span) measure() {
	t.top = t.end
	for _, child := range []*span{t.left, t.right} {
		if child != nil && t.top != nil && (child.top == nil || bytes.Compare(child.top, t.top) > 0) {
			t.top = child.top
		}
	}
}

// compare tells where a range lies, seen from t: negative is to the left.
func (t *span) compare(start, end []byte) int {
	if order := bytes.Compare(start, t.start); order != 0 {
		return order
	}
	switch {
	case end == nil && t.end == nil:
		return 0
	case end == nil:
		return 1
	case t.end == nil:
		return -1
	}
	return bytes.Compare(end, t.end)
}

func before(key, end []byte) bool { return end == nil || bytes.Compare(key, end) < 0 }
