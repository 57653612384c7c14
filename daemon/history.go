// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/state"
)

// history decides what of it is given up, by etcd's rules:
//
//	periodic  what is older than a span of time. A tenth of the span, at most
//	          six minutes, lies between two looks at the revision; the first
//	          compaction comes a span after the start, the next ones a span,
//	          at most an hour, after the one before.
//	revision  all but so many revisions, every five minutes.
//
// Every member looks, with its own monotonic clock, and only the leader
// compacts: so a new leader knows what is old.
type history struct {
	span     time.Duration // periodic; zero: not by time
	keep     int64         // revision; zero: not by number
	revision func() int64
	leading  func() bool
	compact  func(ctx context.Context, revision int64) error
	log      *slog.Logger
}

const (
	periodic   = "periodic"
	byRevision = "revision"

	revisionEvery = 5 * time.Minute
	longestWait   = time.Hour
	looks         = 10 // in a span, or in the longest wait
	shortestSpan  = time.Second
)

// What is kept when nobody says how much: enough for whoever comes back within
// a day, and not for ever.
const (
	defaultSpan = "24h"
	defaultKeep = "1000000"
)

// retention reads how much history is kept, as etcd's flags say it. Zero is all.
func retention(mode, kept string) (span time.Duration, keep int64, err error) {
	if kept == "" {
		kept = map[string]string{periodic: defaultSpan, byRevision: defaultKeep}[mode]
	}
	n, notNumber := strconv.ParseInt(kept, 10, 64)
	switch {
	case mode == byRevision && notNumber == nil && n >= 0:
		return 0, n, nil
	case mode == byRevision:
		return 0, 0, fmt.Errorf("%q is not a number of revisions", kept)
	case mode != periodic:
		return 0, 0, fmt.Errorf("%q is neither %s nor %s", mode, periodic, byRevision)
	case notNumber == nil && n >= 0 && n <= int64(maxSpan/time.Hour):
		span = time.Duration(n) * time.Hour
	default:
		span, err = time.ParseDuration(kept)
	}
	if err != nil || span < 0 || span > maxSpan || span != 0 && span < shortestSpan {
		return 0, 0, fmt.Errorf("%q is neither hours nor a time span from 1s to 100 years", kept)
	}
	return span, 0, nil
}

const maxSpan = 100 * 365 * 24 * time.Hour

// Run gives up history until ctx ends.
func (h *history) Run(ctx context.Context) error {
	switch {
	case h.span > 0:
		h.byTime(ctx)
	case h.keep > 0:
		h.byNumber(ctx)
	}
	return nil
}

func (h *history) byTime(ctx context.Context) {
	every := min(h.span, longestWait) / looks
	most := int(h.span/every) + 1
	var seen []int64 // revisions, oldest first: the first is a span old once there are most of them
	var last int64
	for left := most - 1; ; { // looks until the next compaction
		seen = append(seen, h.revision())
		if len(seen) > most {
			seen = slices.Delete(seen, 0, 1)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every): // a ticker makes up for what a compaction took, and would look too soon
		}
		left--
		if old := seen[0]; left <= 0 && old != last && h.leading() && h.giveUp(ctx, old) {
			last, left = old, looks
		}
	}
}

func (h *history) byNumber(ctx context.Context) {
	look := time.NewTicker(revisionEvery)
	defer look.Stop()
	var last int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if old := h.revision() - h.keep; old > 0 && old != last && h.leading() && h.giveUp(ctx, old) {
			last = old
		}
	}
}

// giveUp compacts. It is done as well if somebody else has.
func (h *history) giveUp(ctx context.Context, revision int64) bool {
	err := h.compact(ctx, revision)
	switch {
	case err == nil:
		h.log.Debug("history given up", "revision", revision)
	case errors.Is(err, kv.ErrCompacted):
	case ctx.Err() != nil:
		return false
	default:
		h.log.Warn("history is not given up; the next look tries again", "revision", revision, "cause", err)
		return false
	}
	return true
}

// giveUpHistory does so by the settings. Other settings begin anew: what is old by
// them is known a span later.
func (d *Daemon) giveUpHistory(ctx context.Context) error {
	return d.whileSame(ctx, []string{"auto-compaction-mode", "auto-compaction-retention"}, func(ctx context.Context, c *Config) error {
		return d.newHistory(c).Run(ctx)
	})
}

// newHistory is the member's, as settings have it.
func (d *Daemon) newHistory(c *Config) *history {
	span, keep, err := retention(c.CompactionMode, c.CompactionRetention)
	if err != nil {
		panic(fmt.Sprintf("daemon: a retention that was checked: %v", err))
	}
	return &history{
		span: span, keep: keep, revision: d.store.Revision, log: d.log,
		leading: func() bool { return d.node.Status().Leader == d.dir.memberID() },
		compact: func(ctx context.Context, revision int64) error {
			ctx, cancel := context.WithTimeout(ctx, d.config().requestTimeout())
			defer cancel()
			command := state.CompactCommand(selfIdentity, &pb.CompactionRequest{Revision: revision})
			_, err := committed(d.node.Propose(ctx, command))
			return err
		},
	}
}
