// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/state"
)

// quota bounds what keys, leases and history may take on this member's disk, as
// etcd's does: what a write takes at most is added to what there is. To ask the
// store is too slow for each write, so what was let in since it was asked counts
// as well.
type quota struct {
	limit atomic.Int64 // zero or less: none
	size  func() int64
	log   *slog.Logger

	taken atomic.Int64 // the size when it was looked at last, and what was let in since
	short bool         // for the log; check's alone
}

func newQuota(limit int64, size func() int64, log *slog.Logger) *quota {
	q := &quota{size: size, log: log}
	q.resize(limit)
	q.check()
	return q
}

// resize makes it another quota.
func (q *quota) resize(limit int64) {
	if limit > 0 {
		q.taken.Store(q.size())
	}
	q.limit.Store(limit)
}

// admit says whether a write of so many bytes fits.
func (q *quota) admit(bytes int) bool {
	limit := q.limit.Load()
	if limit <= 0 {
		return true
	}
	if q.taken.Add(int64(bytes)) < limit {
		return true
	}
	q.taken.Add(-int64(bytes))
	return false
}

// check looks at the store. It is short when nothing fits any more, and roomy
// again when so much has gone that the next writes do.
func (q *quota) check() (short, roomy bool) {
	limit := q.limit.Load()
	if limit <= 0 {
		q.short = false
		return false, true
	}
	size := q.size()
	q.taken.Store(size)
	short, roomy = size >= limit, q.roomy(size)
	switch {
	case short && !q.short:
		q.log.Error("the quota is used up: delete, compact, or raise quota-backend-bytes", "size", size, "quota", limit)
		q.short = true
	case roomy && q.short:
		q.log.Info("there is room below the quota again", "size", size, "quota", limit)
		q.short = false
	}
	return short, roomy
}

// roomy says whether the alarm has no place while the store has this size.
func (q *quota) roomy(size int64) bool {
	limit := q.limit.Load()
	return limit <= 0 || size <= limit-limit/slack
}

// slack is the part of the quota that must be free before the alarm is taken
// back, and the part of the reserve of disk that must be free beyond it before
// writes go on: neither is to come and go with each write.
const slack = 20

// A member whose quota is used up has all of them refuse what takes room, as in
// etcd: it raises the NOSPACE alarm. It takes it back by itself, but not one that
// somebody else has raised. A disk without room is that member's alone: the
// others go on without it as long as they are a majority, and one that has ended
// on a full disk could take nothing back.

// room says whether this member lets in a write of so many bytes. When the quota
// does not, the first who is refused raises the alarm, and the others wait for
// nothing. Where there is so much room that the alarm would be taken back at once
// it was this write that was too large, or one of too many at a time: that is no
// reason to stop what is smaller, at all members.
func (d *Daemon) room(ctx context.Context, bytes int) bool {
	if !d.space.Enough() {
		return false
	}
	if d.quota.admit(bytes) {
		return true
	}
	if !d.raising.CompareAndSwap(false, true) {
		return false
	}
	defer d.raising.Store(false)
	if raised, _ := d.noSpace(); !raised && !d.quota.roomy(d.quota.size()) {
		d.alarm(ctx, true)
	}
	return false
}

// watchRoom raises the alarm also when what uses the quota up comes from elsewhere,
// and takes it back.
func (d *Daemon) watchRoom(ctx context.Context) error {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		short, roomy := d.quota.check()
		raised, passes := d.noSpace()
		switch {
		case short && !raised:
			d.alarm(ctx, true)
		case roomy && passes:
			d.alarm(ctx, false)
		}
	}
}

// noSpace says whether the alarm is raised for this member, and whether this
// member is to take it back.
func (d *Daemon) noSpace() (raised, passes bool) {
	for _, a := range d.machine.Alarms() {
		if a.Type == pb.AlarmType_NOSPACE && a.Member == d.dir.memberID() {
			return true, a.Passing
		}
	}
	return false, false
}

// alarm raises the alarm or takes it back. Without a leader it fails, and is
// tried again; then nothing is written anyway.
func (d *Daemon) alarm(ctx context.Context, on bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	alarm := state.Alarm{Type: pb.AlarmType_NOSPACE, Member: d.dir.memberID(), Passing: true}
	if _, err := committed(d.node.Propose(ctx, state.AlarmCommand(selfIdentity, alarm, on))); err != nil {
		d.log.Debug("the NOSPACE alarm is not changed yet", "on", on, "cause", err)
		return
	}
	if on {
		d.log.Warn("NOSPACE: no member takes writes until this one has room below its quota")
		return
	}
	d.log.Info("NOSPACE is over: this member has room again")
}
