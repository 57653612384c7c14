// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// world is all keys of up to two letters of a small alphabet, in which every
// question can be asked of each key alone.
func world() (keys [][]byte) {
	letters := []byte{0, 'a', 'b', 0xff}
	for _, first := range letters {
		keys = append(keys, []byte{first})
		for _, second := range letters {
			keys = append(keys, []byte{first, second})
		}
	}
	return keys
}

func within(key, from, end []byte) bool {
	switch {
	case len(end) == 0:
		return bytes.Equal(key, from)
	case openEnd(end):
		return bytes.Compare(key, from) >= 0
	}
	return bytes.Compare(key, from) >= 0 && bytes.Compare(key, end) < 0
}

// A range may be touched if each key that there could be in it may be.
func TestSpansCoverWhatEachOfTheirKeysAllows(t *testing.T) {
	keys := world()
	var probes [][]byte // keys and their successors: what lies between two of the world
	for _, k := range keys {
		probes = append(probes, k, append(bytes.Clone(k), 0), append(bytes.Clone(k), 0, 0), append(bytes.Clone(k), 0xff, 0xff, 0xff))
	}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func() []byte { return keys[random.IntN(len(keys))] }
	end := func(from []byte) []byte {
		for {
			switch random.IntN(6) {
			case 0:
				return nil
			case 1:
				return []byte{0}
			}
			if e := pick(); bytes.Compare(from, e) < 0 {
				return e
			}
			if bytes.Equal(from, []byte{0xff, 0xff}) {
				return nil
			}
		}
	}
	for range 20_000 {
		type granted struct{ from, end []byte }
		var grants []granted
		var all []span
		for range random.IntN(4) {
			from := pick()
			g := granted{from, end(from)}
			grants = append(grants, g)
			all = append(all, spanOf(g.from, g.end))
		}
		from := pick()
		to := end(from)
		want := true
		for _, p := range probes {
			allowed := false
			for _, g := range grants {
				allowed = allowed || within(p, g.from, g.end)
			}
			want = want && (allowed || !within(p, from, to))
		}
		if got := merge(all).cover(spanOf(from, to)); got != want {
			t.Fatalf("%q to %q with %q: %t, want %t", from, to, grants, got, want)
		}
	}
}
