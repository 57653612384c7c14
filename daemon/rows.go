// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
)

// The rows of the members in the state, and who keeps them true: each member
// its own name and addresses, the leader who need not stay a learner.

var selfIdentity = state.Identity{Root: true, Name: "root"}

// self is this member's row as it ought to be.
func (d *Daemon) self() state.Member {
	return state.Member{ID: d.dir.memberID(), Name: d.config().Name, PeerURLs: d.peerURLs(), ClientURLs: d.clientURLs(), Format: d.newest}
}

// introduced says whether the cluster knows this member as it is.
func (d *Daemon) introduced() bool {
	row, known := d.machine.Member(d.dir.memberID())
	self := d.self()
	return known && !row.Reserved && row.Name == self.Name && row.Format == self.Format &&
		slices.Equal(row.PeerURLs, self.PeerURLs) && slices.Equal(row.ClientURLs, self.ClientURLs)
}

// introduce writes this member's row.
func (d *Daemon) introduce(ctx context.Context) error {
	_, err := committed(d.node.Propose(ctx, state.MemberSetCommand(selfIdentity, d.self())))
	return err
}

// announce writes this member's row if it is another than at the last start, and
// when a reload has made it another.
func (d *Daemon) announce(ctx context.Context) error {
	pause := time.NewTicker(time.Second)
	defer pause.Stop()
	for told := false; ; {
		known := d.current.Load()
		attempt, cancel := context.WithTimeout(ctx, startLimit)
		err := d.node.Sync(attempt)
		if err == nil && d.listed() && !d.introduced() {
			err = d.introduce(attempt)
		}
		cancel()
		if err == nil && d.listed() {
			select {
			case <-ctx.Done():
				return nil
			case <-known.replaced:
			}
			told = false
			continue
		}
		if err != nil && !errors.Is(err, raft.ErrNoLeader) && ctx.Err() == nil && !told {
			told = true
			d.log.Error("the cluster does not know this member's name and addresses; trying again", "cause", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
	}
}

// promoteEvery is how often the leader looks whether a learner has caught up.
const promoteEvery = 50 * time.Millisecond

// promote gives those a vote who came to be voters, when they have caught up,
// and finishes removals.
func (d *Daemon) promote(ctx context.Context) error {
	tick := time.NewTicker(promoteEvery)
	defer tick.Stop()
	for {
		for _, m := range d.node.Members() {
			row, known := d.machine.Member(m.ID)
			if !m.Learner || !known || row.Learner {
				continue
			}
			err := d.node.Promote(ctx, m.ID)
			switch {
			case err == nil:
				d.log.Info("member votes now", "member", hexID(m.ID), "name", row.Name)
			case !errors.Is(err, raft.ErrNotReady) && ctx.Err() == nil:
				d.log.Warn("learner not promoted; trying again", "member", hexID(m.ID), "cause", err)
			}
		}
		d.finishRemovals(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
