// SPDX-License-Identifier: Apache-2.0

package kv

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkRange reads 10,000 keys of 32 bytes with values of 256, as an answer
// carries them: from memory, where a flush has not been yet, and from tables.
//
//	go test ./kv -run '^$' -bench Range
func BenchmarkRange(b *testing.B) {
	const keys = 10_000
	for _, c := range []struct {
		name     string
		versions int
		flushed  bool
	}{{"unflushed", 1, false}, {"flushed", 1, true}, {"of_many_versions", 5, true}} {
		b.Run(c.name, func(b *testing.B) {
			s, index := newStore(b), uint64(0)
			for range c.versions {
				for key := range keys {
					index++
					put(b, s, index, fmt.Sprintf("/registry/pods/%017d", key), strings.Repeat("v", 256))
				}
			}
			if c.flushed {
				if err := s.Flush(); err != nil {
					b.Fatal(err)
				}
			}
			spent := cpu()
			for b.Loop() {
				r, err := s.Range(Range{Key: []byte("/registry/"), End: []byte("/registry0")}, ReadOptions{FramesOnly: true})
				if err != nil || r.Count != keys {
					b.Fatal(r.Count, err)
				}
				for _, f := range r.Frames {
					Recycle(&f)
				}
			}
			report(b, "range", spent, keys*b.N)
		})
	}
}
