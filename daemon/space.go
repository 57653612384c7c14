// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"
)

// space watches the free room on the disk of the data directory. Below the
// reserve new writes are refused, so that the log and the state never meet a
// full disk in the middle of a write; reads, deletes and compaction go on, and
// writes come back by themselves with the room and a little more (see slack).
type space struct {
	path    string
	reserve atomic.Int64 // as set; -1 follows from the size of the disk
	log     *slog.Logger

	enough atomic.Bool // written by judge alone
}

const (
	minReserve = 256 << 20
	maxReserve = 2 << 30
)

func newSpace(path string, reserve int64, log *slog.Logger) (*space, error) {
	s := &space{path: path, log: log}
	s.reserve.Store(reserve)
	s.enough.Store(true)
	return s, s.check()
}

// Enough says whether writes may go on.
func (s *space) Enough() bool { return s.enough.Load() }

// spaceEvery is how often the disk is looked at. A fast disk takes some hundred
// MiB a second, log and state together, and what is in memory follows: the
// smallest reserve must last longer than that.
const spaceEvery = 100 * time.Millisecond

// Run looks at the disk until ctx ends.
func (s *space) Run(ctx context.Context) error {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.check(); err != nil {
				return err
			}
		}
	}
}

func (s *space) check() error {
	free, total, err := diskSpace(s.path)
	if err != nil {
		return err
	}
	s.judge(free, reserveFor(s.reserve.Load(), total))
	return nil
}

func (s *space) judge(free, reserve int64) {
	had := s.enough.Load()
	spare := free - reserve
	enough := spare >= 0
	if !had {
		enough = spare >= reserve/slack
	}
	s.enough.Store(enough)
	switch {
	case had && !enough:
		s.log.Error("free disk below the reserve: writes are refused until there is room; delete and compact, or make room on the disk",
			"path", s.path, "free", free, "reserve", reserve)
	case !had && enough:
		s.log.Info("free disk above the reserve again: writes go on", "path", s.path, "free", free, "reserve", reserve)
	}
}

// reserveFor returns the reserve in bytes for a disk of total bytes.
func reserveFor(setting, total int64) int64 {
	if setting >= 0 {
		return setting
	}
	return min(max(total/20, minReserve), maxReserve)
}

func diskSpace(path string) (free, total int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("free disk of %s: %w", path, err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}
