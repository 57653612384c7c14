// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"slices"
	"sort"
)

// span is the keys from one to before another; a nil end is none.
type span struct{ from, to []byte }

// spanOf is how requests and permissions write a span: no end is the key
// alone, "\x00" no end at all.
func spanOf(key, end []byte) span {
	switch {
	case len(end) == 0:
		return span{key, append(key[:len(key):len(key)], 0)} // the next key there can be
	case openEnd(end):
		return span{key, nil}
	}
	return span{key, end}
}

func openEnd(end []byte) bool { return len(end) == 1 && end[0] == 0 }

// ends compares ends.
func ends(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return bytes.Compare(a, b)
}

// spans are sorted and do not touch.
type spans []span

// merge joins what overlaps or touches.
func merge(all []span) spans {
	slices.SortFunc(all, func(a, b span) int { return bytes.Compare(a.from, b.from) })
	var out spans
	for _, s := range all {
		last := len(out) - 1
		if last < 0 || out[last].to != nil && bytes.Compare(out[last].to, s.from) < 0 {
			out = append(out, s)
			continue
		}
		if ends(s.to, out[last].to) > 0 {
			out[last].to = s.to
		}
	}
	return out
}

// cover says whether all of a span is in these.
func (s spans) cover(wanted span) bool {
	after := sort.Search(len(s), func(i int) bool { return bytes.Compare(s[i].from, wanted.from) > 0 })
	if after == 0 {
		return false
	}
	in := s[after-1]
	return ends(wanted.to, in.to) <= 0 && (in.to == nil || bytes.Compare(wanted.from, in.to) < 0)
}
