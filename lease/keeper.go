// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// checkpointInterval bounds how much of a long lease a change of leader
	// gives back.
	checkpointInterval = 5 * time.Minute

	// expireBatch is small, since each lease of it is a revision with any
	// number of deletions, and other writers wait for all of them.
	expireBatch     = 128
	checkpointBatch = 1000

	minBackOff = 100 * time.Millisecond
	maxBackOff = 5 * time.Second
)

// KeeperOptions are what a [Keeper] needs; Logger and Registerer may be nil.
//
// Confirm returns nil once it is certain that no other member has led since it
// was called.
//
// Expire and Checkpoint propose a command and return when this member has
// applied it. A lease may be revoked before that, and its ID granted again: the
// command must leave alone what [Table.Holds] denies. An expiry that gave up is tried
// again. Checkpoint must not give up by a time limit of its own while this
// member leads: a renewal could then be recorded before the checkpoint that it
// undoes.
type KeeperOptions struct {
	Confirm    func(ctx context.Context) error
	Expire     func(ctx context.Context, refs []Ref) error
	Checkpoint func(ctx context.Context, remaining map[Ref]int64) error
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Keeper measures the time of leases while this member leads. Its methods may
// be called concurrently.
type Keeper struct {
	table   *Table
	options KeeperOptions
	log     *slog.Logger
	metrics keeperMetrics
	epoch   time.Time

	mu     sync.Mutex
	clocks *clocks // nil while Run does not run
}

// NewKeeper returns a keeper of the table's leases; it measures nothing before
// Run.
func NewKeeper(t *Table, o KeeperOptions) *Keeper {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{table: t, options: o, log: log, metrics: newKeeperMetrics(o.Registerer), epoch: time.Now()}
}

// Run measures time and revokes what has run out until ctx ends; it returns
// ctx's error. It is to run only while this member leads and its state holds
// everything committed before. Every lease begins with the time of its last
// checkpoint, or with its whole TTL.
func (k *Keeper) Run(ctx context.Context) error {
	s, err := k.begin()
	if err != nil {
		return err
	}
	defer k.end(s)
	timer := time.NewTimer(0)
	defer timer.Stop()
	backOff := minBackOff
	for ctx.Err() == nil {
		expired, checkpoints, idle := k.due(s)
		err := errors.Join(k.expire(ctx, s, expired), k.checkpoint(ctx, checkpoints))
		switch {
		case ctx.Err() != nil:
			continue
		case err != nil:
			k.log.Warn("leases could not be expired or checkpointed; will retry", "after", backOff, "err", err)
			timer.Reset(backOff)
			backOff = min(2*backOff, maxBackOff)
			wait(ctx, timer.C, nil)
		default:
			backOff = minBackOff
			timer.Reset(idle)
			wait(ctx, timer.C, s.feed.ring)
		}
	}
	return ctx.Err()
}

func wait(ctx context.Context, timer <-chan time.Time, ring <-chan struct{}) {
	select {
	case <-timer:
	case <-ring:
	case <-ctx.Done():
	}
}

var errRunning = errors.New("lease: the keeper runs already")

func (k *Keeper) begin() (*clocks, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.clocks != nil {
		return nil, errRunning
	}
	leases, feed := k.table.follow()
	s := &clocks{feed: feed, byID: make(map[int64]*clock, len(leases)), ended: make(chan struct{})}
	now := k.now()
	for _, l := range leases {
		s.start(now, l)
	}
	k.clocks = s
	return s, nil
}

func (k *Keeper) end(s *clocks) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.table.unfollow()
	k.clocks = nil
	close(s.ended)
}

// Remaining returns the time that a lease has left. It fails with [ErrNotFound],
// or [ErrNotLeading].
func (k *Keeper) Remaining(id int64) (time.Duration, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, now, err := k.clockLocked(id)
	if err != nil {
		return 0, err
	}
	return time.Duration(max(c.deadline-now, 0)), nil
}

// clockLocked returns a lease's clock, up to date with the table.
func (k *Keeper) clockLocked(id int64) (*clock, moment, error) {
	if k.clocks == nil {
		return nil, 0, ErrNotLeading
	}
	now := k.now()
	k.clocks.catchUp(now)
	c := k.clocks.byID[id]
	if c == nil {
		return nil, 0, ErrNotFound
	}
	return c, now, nil
}

func (k *Keeper) now() moment { return moment(time.Since(k.epoch)) }
