// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cleatd/cleat/kv"
)

func newIndex() *index { return &index{keys: make(map[string]*spot)} }

func (x *index) cursors(key string) (found []*Cursor) {
	for _, s := range x.match(nil, []byte(key)) {
		found = append(found, s.cursors...)
	}
	return found
}

// TestIndexFindsWhoWantsAKey compares the index with a look at all cursors,
// while ranges come and go.
func TestIndexFindsWhoWantsAKey(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 3))
	word := func() string { return fmt.Sprintf("%0*b", 1+random.IntN(4), random.IntN(16)) }
	x, all := newIndex(), make(map[*Cursor]bool)
	for range 20_000 {
		if random.IntN(2) == 0 {
			c := &Cursor{keys: kv.Range{Key: []byte(word())}}
			if random.IntN(3) > 0 {
				c.keys.End = []byte([]string{word(), word(), "\x00"}[random.IntN(3)])
			}
			x.add(c)
			all[c] = true
		} else {
			for c := range all { // any
				x.remove(c)
				delete(all, c)
				break
			}
		}
		key, want := word(), make(map[*Cursor]bool)
		for c := range all {
			if within(c.keys, key) {
				want[c] = true
			}
		}
		got := x.cursors(key)
		if len(got) != len(want) || slices.ContainsFunc(got, func(c *Cursor) bool { return !want[c] }) {
			t.Fatalf("%q: found %d cursors, want %d", key, len(got), len(want))
		}
	}
}

func (t *span) depth() int {
	if t == nil {
		return 0
	}
	return 1 + max(t.left.depth(), t.right.depth())
}

// Prefixes come in order more often than not.
func TestIndexStaysFlat(t *testing.T) {
	const ranges = 100_000 // 17 levels at best
	for name, at := range map[string]func(i int) int{
		"rising":  func(i int) int { return i },
		"falling": func(i int) int { return ranges - i },
	} {
		t.Run(name, func(t *testing.T) {
			x := newIndex()
			for i := range ranges {
				x.add(&Cursor{keys: prefix(fmt.Sprintf("k%06d", at(i)))})
			}
			if d := x.ranges.depth(); d > 80 {
				t.Errorf("%d levels", d)
			}
			if n := len(x.cursors("k000777/x")); n != 1 {
				t.Errorf("%d cursors want the key, want one", n)
			}
		})
	}
}
