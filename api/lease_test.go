// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"math"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestLeaseGrantLeavesNothingOpen(t *testing.T) {
	s := startServer(t, nil)
	leases := pb.NewLeaseClient(s.dial(t))
	ctx := t.Context()
	chosen, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 10})
	if err != nil || chosen.ID <= 0 || chosen.TTL != 10 || chosen.Header.Revision != 1 {
		t.Fatalf("got %v, %v", chosen, err)
	}
	for _, ttl := range []int64{-5, 0, 1} {
		raised, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: ttl})
		if err != nil || raised.TTL != 2 {
			t.Errorf("TTL %d: got %v, %v; want the minimum of 2", ttl, raised, err)
		}
	}
	for _, c := range []struct {
		r    *pb.LeaseGrantRequest
		want error
	}{
		{&pb.LeaseGrantRequest{ID: chosen.ID, TTL: 10}, rpctypes.ErrGRPCLeaseExist},
		{&pb.LeaseGrantRequest{TTL: 9_000_000_001}, rpctypes.ErrGRPCLeaseTTLTooLarge},
		{&pb.LeaseGrantRequest{ID: chosen.ID, TTL: math.MaxInt64}, rpctypes.ErrGRPCLeaseTTLTooLarge},
		{&pb.LeaseGrantRequest{TTL: 9_000_000_000}, nil},
	} {
		_, err := leases.LeaseGrant(ctx, c.r)
		if (err == nil) != (c.want == nil) || (err != nil && err.Error() != c.want.Error()) {
			t.Errorf("%v: got %v, want %v", c.r, err, c.want)
		}
	}
}

func TestLeaseThroughEtcdsClient(t *testing.T) {
	s := startServer(t, nil)
	c := s.client(t)
	ctx := t.Context()
	granted, err := c.Grant(ctx, 60)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"b", "a"} {
		if _, err := c.Put(ctx, key, "", clientv3.WithLease(granted.ID)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Put(ctx, "c", "", clientv3.WithLease(granted.ID+1)); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatalf("got %v", err)
	}
	left, err := c.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	if err != nil || left.TTL != 60 || left.GrantedTTL != 60 || len(left.Keys) != 2 || string(left.Keys[0]) != "a" {
		t.Fatalf("got %v, %v", left, err)
	}
	unknown, err := c.TimeToLive(ctx, granted.ID+1)
	if err != nil || unknown.TTL != -1 {
		t.Fatalf("got %v, %v", unknown, err)
	}
	kept, err := c.KeepAliveOnce(ctx, granted.ID)
	if err != nil || kept.TTL != 60 || kept.ResponseHeader.Revision != 3 {
		t.Fatalf("got %v, %v", kept, err)
	}
	if _, err := c.KeepAliveOnce(ctx, granted.ID+1); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatalf("got %v", err)
	}
	all, err := c.Leases(ctx)
	if err != nil || len(all.Leases) != 1 || all.Leases[0].ID != granted.ID {
		t.Fatalf("got %v, %v", all, err)
	}
	revoked, err := c.Revoke(ctx, granted.ID)
	if err != nil || revoked.Header.Revision != 4 {
		t.Fatalf("got %v, %v", revoked, err)
	}
	if _, err := c.Revoke(ctx, granted.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Fatalf("got %v", err)
	}
	if gone, err := c.Get(ctx, "a"); err != nil || gone.Count != 0 {
		t.Fatalf("got %v, %v", gone, err)
	}
}
