// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// claim is what lock and elect have in common: a lease that is kept alive while
// the command runs, and with it a key.
type claim struct {
	*session
	lease *concurrency.Session
}

// stake opens a session and grants the lease. ctx ends with SIGINT or SIGTERM,
// at any time from here on; the claim outlives it, to be given back.
func stake(c *cli.Context, ttl int, act func(context.Context, *claim) error) error {
	s, err := open(c, keyForms, chooseDoor)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	granted, err := s.Grant(ctx, int64(ttl))
	if err != nil {
		return fmt.Errorf("grant a lease: %w", interrupted(ctx, err))
	}
	lease, err := concurrency.NewSession(s.Client, concurrency.WithTTL(ttl), concurrency.WithLease(granted.ID))
	if err != nil {
		return fmt.Errorf("keep lease %016x alive: %w", uint64(granted.ID), err)
	}
	return act(ctx, &claim{session: s, lease: lease})
}

// giveBack ends the lease, and with it whatever key was put under it.
func (h *claim) giveBack(name string) error {
	if err := h.lease.Close(); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("give %s back, which lease %016x ends otherwise: %w", name, uint64(h.lease.Lease()), err)
	}
	return nil
}

// lost tells that the lease has ended, or may have: no member has confirmed it
// for as long as it lives.
func (h *claim) lost() bool {
	select {
	case <-h.lease.Done():
		return true
	default:
		return false
	}
}

// show prints the key that was put.
func (h *claim) show(ctx context.Context, key string) error {
	reply, err := h.Get(ctx, key)
	if err != nil {
		return err
	}
	if len(reply.Kvs) == 0 {
		return errors.New("the key " + key + " was lost as soon as it was put")
	}
	return h.out.print(getAnswer((*pb.RangeResponse)(reply)))
}

// interrupted says so instead of what the interruption made fail.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}
