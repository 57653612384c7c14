// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"

	"github.com/cleatd/cleat/kv"
)

// index finds the cursors that want a key: at the cost of one look-up for
// those that watch a single key, and of the logarithm of the number of
// different ranges, and the ranges that match, for the others.
type index struct {
	keys   map[string]*spot
	ranges *span
}

// spot holds the cursors that watch the same keys, in no order.
type spot struct{ cursors []*Cursor }

func (x *index) add(c *Cursor) {
	var s *spot
	if single(c.keys) {
		if s = x.keys[string(c.keys.Key)]; s == nil {
			s = new(spot)
			x.keys[string(c.keys.Key)] = s
		}
	} else {
		x.ranges, s = x.ranges.insert(c.keys.Key, rangeEnd(c.keys))
	}
	c.spot, c.slot = s, len(s.cursors)
	s.cursors = append(s.cursors, c)
}

func (x *index) remove(c *Cursor) {
	s := c.spot
	last := len(s.cursors) - 1
	s.cursors[c.slot] = s.cursors[last]
	s.cursors[c.slot].slot = c.slot
	s.cursors[last] = nil
	s.cursors = s.cursors[:last]
	c.spot = nil
	if last > 0 {
		return
	}
	if single(c.keys) {
		delete(x.keys, string(c.keys.Key))
	} else {
		x.ranges = x.ranges.remove(c.keys.Key, rangeEnd(c.keys))
	}
}

// match appends the spots whose cursors want key.
func (x *index) match(spots []*spot, key []byte) []*spot {
	if s := x.keys[string(key)]; s != nil {
		spots = append(spots, s)
	}
	return x.ranges.match(spots, key)
}

func single(r kv.Range) bool { return len(r.End) == 0 }

// rangeEnd is nil for a range without an end.
func rangeEnd(r kv.Range) []byte {
	if len(r.End) == 1 && r.End[0] == 0 {
		return nil
	}
	return r.End
}

// hopeless says that no key can be in the range.
func hopeless(r kv.Range) bool {
	end := rangeEnd(r)
	return !single(r) && end != nil && bytes.Compare(r.Key, end) >= 0
}
