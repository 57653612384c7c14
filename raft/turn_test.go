// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft-wal/metadb"

	hraft "github.com/hashicorp/raft"
)

// openSegments opens the log in dir, in segments of 4 KiB.
func openSegments(t *testing.T, dir string) (*Config, logStore) {
	t.Helper()
	c := config(dir)
	c.faults.segment = 4 << 10
	log, err := openLog(&c)
	if err != nil {
		t.Fatal(err)
	}
	return &c, log
}

func segmentFiles(t *testing.T, c *Config) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(logPath(c), "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// cutShort leaves a log whose first segment is full, as a crash does before the
// next one is noted, and returns the segment's file and its newest entry. Each
// write has two entries of the size.
func cutShort(t *testing.T, dir string, size int) (file string, newest uint64) {
	t.Helper()
	c, log := openSegments(t, dir)
	for len(segmentFiles(t, c)) < 2 {
		two := []*hraft.Log{entry(newest+1, strings.Repeat("a", size)), entry(newest+2, strings.Repeat("b", size))}
		if err := log.StoreLogs(two); err != nil {
			t.Fatal(err)
		}
		newest += 2
		if info, err := os.Stat(segmentFiles(t, c)[0]); err != nil || info.Size() > 4<<10 {
			eventually(t, func() error {
				if len(segmentFiles(t, c)) < 2 {
					return errors.New("raft-wal does not turn to the next segment")
				}
				return nil
			})
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	var meta metadb.BoltMetaDB
	state, err := meta.Load(logPath(c))
	if err != nil {
		t.Fatal(err)
	}
	state.Segments = state.Segments[:1]
	state.NextSegmentID--
	first := &state.Segments[0]
	first.SealTime, first.MaxIndex, first.IndexStart = time.Time{}, 0, 0
	files := segmentFiles(t, c)
	if err := errors.Join(meta.CommitState(state), meta.Close(), os.Remove(files[1])); err != nil {
		t.Fatal(err)
	}
	return files[0], newest
}

// A member that dies just then would refuse every write for good.
func TestATurnToTheNextSegmentMayBeCutShort(t *testing.T) {
	for name, c := range map[string]struct {
		size int                                      // of an entry
		tear func(t *testing.T, file string)          // what else the crash has done
		want func(newest uint64) (whole, last uint64) // entries that must be there
	}{
		"the last write is whole": {200, func(*testing.T, string) {}, func(n uint64) (uint64, uint64) { return n, n }},
		"the last write is torn":  {200, tearEnd, func(n uint64) (uint64, uint64) { return n - 2, n - 2 }},
		"the only write is torn":  {3000, tearEnd, func(uint64) (uint64, uint64) { return 0, 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, newest := cutShort(t, dir, c.size)
			c.tear(t, file)
			whole, last := c.want(newest)
			for range 2 { // the second start finds what the first has made of it
				_, log := openSegments(t, dir)
				if found, err := log.LastIndex(); found != last || err != nil {
					t.Fatalf("the newest entry is %d, %v, want %d", found, err, last)
				}
				for index := uint64(1); index <= whole; index++ {
					var l hraft.Log
					if err := log.GetLog(index, &l); err != nil || l.Index != index {
						t.Fatalf("entry %d: %+v, %v", index, l, err)
					}
				}
				last++
				if err := log.StoreLogs([]*hraft.Log{entry(last, fmt.Sprint("after ", last))}); err != nil {
					t.Fatal(err)
				}
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// tearEnd damages the last bytes that were written.
func tearEnd(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-20] ^= 0xff // within the index, which the last write carries
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
