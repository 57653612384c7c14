// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/api"
	"github.com/cleatd/cleat/backup"
)

// snapshot writes this member's state as etcd's file, beside the state and
// without its name, for somebody to read. One is made at a time, so that each
// finds out what room there is; whoever comes meanwhile waits.
func (d *Daemon) snapshot(ctx context.Context) (api.Snapshot, error) {
	select {
	case d.saving <- struct{}{}:
		defer func() { <-d.saving }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	view, err := d.machine.View()
	if err != nil {
		return nil, err
	}
	rests := &rests{ctx: ctx, worked: time.Now()}
	saved, err := backup.Save(backup.Source{
		View: view, Term: d.node.Status().Term, Dir: d.dir.path, Free: d.freeAboveReserve, Pause: rests.pause,
	})
	if err = errors.Join(err, view.Close()); err != nil && saved != nil {
		err = errors.Join(err, saved.Close())
	}
	switch {
	case errors.Is(err, backup.ErrNoRoom), full(err):
		return nil, status.Errorf(codes.FailedPrecondition, "cleat: %v: make room on the disk, or ask another member", err)
	case err != nil:
		return nil, err
	}
	return &restful{Saved: saved, rests: rests}, nil
}

// A snapshot is made and sent in short stretches with rests between them, so
// that whoever waits meanwhile, in this process or another, waits for no longer
// than a stretch. Two cores spend all they have on a snapshot, its client and
// the puts beside it; without rests it is the puts that wait.
const (
	stretch = 500 * time.Microsecond
	rest    = 750 * time.Microsecond
	// sent is what is sent in a stretch: others encrypt it, send it and take it,
	// and spend longer on that than who hands it to them.
	sent = 128 << 10
)

// rests are those of one snapshot.
type rests struct {
	ctx    context.Context
	worked time.Time // since
}

// pause rests when a stretch is over. It returns ctx's error.
func (r *rests) pause() error {
	if time.Since(r.worked) < stretch {
		return nil
	}
	return r.now()
}

// now rests. It returns ctx's error.
func (r *rests) now() error {
	over := time.NewTimer(rest)
	defer over.Stop()
	select {
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-over.C:
	}
	r.worked = time.Now()
	return nil
}

// restful is a snapshot that is read with rests.
type restful struct {
	*backup.Saved
	rests *rests
	taken int // since the last rest
}

func (r *restful) ReadAt(b []byte, at int64) (int, error) {
	if r.taken += len(b); r.taken > sent {
		r.taken = 0
		if err := r.rests.now(); err != nil {
			return 0, err
		}
	}
	return r.Saved.ReadAt(b, at)
}

// freeAboveReserve is what may be taken of the disk while writes go on.
func (d *Daemon) freeAboveReserve() (int64, error) {
	free, total, err := diskSpace(d.dir.path)
	return free - reserveFor(d.config().ReserveBytes, total), err
}
