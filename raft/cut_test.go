// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"fmt"
	"testing"

	hraft "github.com/hashicorp/raft"
)

// Another leader's entries replace the end of a member's log, again and again,
// and the member is started anew in between. raft-wal forgets how to read what
// is left of the segment that was cut.
func TestALogWhoseEndWasReplacedIsReadAgain(t *testing.T) {
	for _, kind := range bothLogs {
		t.Run(kind, func(t *testing.T) {
			c := config(t.TempDir())
			if err := c.complete(); err != nil {
				t.Fatal(err)
			}
			c.Log, c.Dir = kind, t.TempDir()
			var want []string
			for round := range 4 {
				log, err := openLog(&c)
				if err != nil {
					t.Fatal(err)
				}
				keep := len(want)
				if round > 0 {
					keep -= 3 + 5*(round-1) // the second cut reaches into an older segment
					if err := log.DeleteRange(uint64(keep+1), uint64(len(want))); err != nil {
						t.Fatal(err)
					}
				}
				want = want[:keep]
				for i := range 10 {
					want = append(want, fmt.Sprintf("round %d entry %d", round, i))
					if err := log.StoreLog(&hraft.Log{Index: uint64(len(want)), Data: []byte(want[len(want)-1])}); err != nil {
						t.Fatal(err)
					}
				}
				for range 2 {
					for i, line := range want {
						var l hraft.Log
						if err := log.GetLog(uint64(i+1), &l); err != nil || string(l.Data) != line {
							t.Errorf("round %d entry %d: %q, %v, want %q", round, i+1, l.Data, err, line)
						}
					}
					if err := log.Close(); err != nil {
						t.Fatal(err)
					}
					if log, err = openLog(&c); err != nil {
						t.Fatal(err)
					}
				}
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
