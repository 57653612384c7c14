// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cleatd/cleat/raft"
)

// patience bounds how long a request waits for agreement. A timer for each
// request is a measurable part of a small write, so requests of the same
// moment share one context: it ends between limit and limit + grain after they
// began.
type patience struct {
	base  context.Context // ended by Stop
	limit time.Duration

	current atomic.Pointer[moment]
	mu      sync.Mutex // held to replace current
}

// moment is the time during which new requests share a context.
type moment struct {
	ctx    context.Context
	cancel context.CancelFunc
	ends   time.Time
}

const grain = 100 * time.Millisecond

// bound returns the context to wait in. The request's own is used if it ends
// sooner. A client that merely goes away does not end the wait: the proposal
// is on its way, and nobody hears the answer.
func (p *patience) bound(ctx context.Context, now time.Time) context.Context {
	if deadline, has := ctx.Deadline(); has && deadline.Before(now.Add(p.limit)) {
		return ctx
	}
	if m := p.current.Load(); m != nil && now.Before(m.ends) {
		return m.ctx
	}
	return p.next(now)
}

func (p *patience) next(now time.Time) context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.current.Load(); m != nil && now.Before(m.ends) {
		return m.ctx
	}
	ctx, cancel := context.WithDeadline(p.base, now.Add(p.limit+grain))
	p.current.Store(&moment{ctx, cancel, now.Add(grain)})
	return ctx
}

// verdict replaces the end of a wait by what the client is to be told: its own
// deadline has passed, or the cluster took too long, or the server is stopping.
func (p *patience) verdict(ctx context.Context, err error) error {
	if err == nil || !(errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.base.Err() != nil:
		return errStopping
	}
	return rpctypes.ErrGRPCTimeout
}

// ofLeader is the verdict on what only the leader can tell. Who waited for one in
// vain is told so, as by etcd.
func (p *patience) ofLeader(ctx context.Context, err error) error {
	told := p.verdict(ctx, err)
	if errors.Is(err, raft.ErrNoLeader) && errors.Is(told, rpctypes.ErrGRPCTimeout) {
		return rpctypes.ErrGRPCNoLeader
	}
	return told
}
