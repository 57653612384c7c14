// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// sessionTTL is the life of a session whose client is cut off, in seconds.
const sessionTTL = 3

// lockUp takes a lock again and again, by etcd's own recipe, and writes under
// it: each write is fenced by the revision in which the lock's key came.
func (c *client) lockUp(ctx context.Context, lock string) {
	for ctx.Err() == nil {
		id, err := c.grant(sessionTTL)
		if err != nil {
			c.rest(ctx)
			continue
		}
		c.session(ctx, id, lock)
		if c.chance.IntN(3) > 0 { // else it is left to expire
			c.revoke(id)
		}
	}
}

// session locks and unlocks until the session or ctx ends, or it has had
// enough.
func (c *client) session(ctx context.Context, id int64, lock string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := concurrency.NewSession(c.conn, concurrency.WithLease(clientv3.LeaseID(id)), concurrency.WithContext(ctx))
	if err != nil {
		return
	}
	defer s.Orphan()
	for range 5 + c.chance.IntN(10) {
		select {
		case <-s.Done():
			return
		case <-ctx.Done():
			return
		default:
		}
		if !c.hold(ctx, s, lock) {
			return
		}
	}
}

// hold takes the lock once. It says whether the session is still good.
func (c *client) hold(ctx context.Context, s *concurrency.Session, lock string) bool {
	prefix := locks + lock
	m := concurrency.NewMutex(s, prefix)
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	err := m.Lock(short)
	cancel()
	if err != nil {
		return false
	}
	c.history.held(hold{key: m.Key(), prefix: prefix + "/", revision: m.Header().Revision})
	c.history.saw(m.Header().Revision)
	owner := m.IsOwner()
	created := owner.GetCompare().GetCreateRevision()
	for range 1 + c.chance.IntN(4) {
		_, err := c.do(request{
			ifs:  []condition{{key: m.Key(), target: pb.Compare_CREATE, number: created}},
			then: []step{{verb: put, key: guarded + lock, value: c.value()}},
		})
		if err != nil {
			return false
		}
		c.rest(ctx)
	}
	short, cancel = context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return m.Unlock(short) == nil
}

// rest lets a moment pass.
func (c *client) rest(ctx context.Context) {
	select {
	case <-time.After(2 * pauseBetween):
	case <-ctx.Done():
	}
}
