// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"
)

// spread is the connections of a cluster's scenes, so that each of three
// members has as many as the others.
const spread = 99

// scenes are those of the run's cluster.
func (s settings) scenes() []scene {
	if s.members > 1 {
		return clusterScenes()
	}
	return scenes()
}

// clusterScenes spread clients over the members. A single client is at the
// leader or at a follower, which must hand its writes on and ask how far it
// has to be for its reads.
func clusterScenes() []scene {
	nothing := func(context.Context, *stage) error { return nil }
	some := func(ctx context.Context, s *stage) error { return s.write(ctx, 4, getKeys, ordinal) }
	return []scene{
		{spread, false, nothing, []measure{
			{"put, 1 client at the leader", "puts", puts(1)},
			{"put, 1 client at a follower", "puts", atFollower(puts(1))},
			{"put + get it, 1 client at a follower", "pairs", atFollower(putsAndGets)},
			{"put, 1,000 clients", "puts", puts(1000)},
		}},
		{spread, false, some, []measure{
			{"get linearizable, 1 client at the leader", "gets", gets(1)},
			{"get linearizable, 1 client at a follower", "gets", atFollower(gets(1))},
			{"get linearizable, 1,000 clients", "gets", gets(1000)},
			{"get serializable, 1,000 clients", "gets", gets(1000, serializable)},
		}},
		{3, false, nothing, []measure{
			{"nothing asked, for a second", "seconds", idle},
		}},
	}
}

// atFollower lets a measure know one connection only, to a follower.
func atFollower(run func(context.Context, *stage) (phase, error)) func(context.Context, *stage) (phase, error) {
	return func(ctx context.Context, s *stage) (phase, error) {
		there := *s
		there.clients = s.clients[1:2]
		return run(ctx, &there)
	}
}

// putsAndGets write a key and read it again, which must show what was written.
func putsAndGets(ctx context.Context, s *stage) (phase, error) {
	return s.load(ctx, 1, repeat(func(ctx context.Context, worker int) error {
		k, v := newKey(), value()
		if _, err := s.clientOf(worker).Put(ctx, k, v); err != nil {
			return err
		}
		r, err := s.clientOf(worker).Get(ctx, k)
		if err == nil && (len(r.Kvs) != 1 || string(r.Kvs[0].Value) != v) {
			return fmt.Errorf("a client did not read its own write: %d keys", len(r.Kvs))
		}
		return err
	}))
}

// idle counts seconds, so that the CPU time is that of a second.
func idle(ctx context.Context, s *stage) (phase, error) {
	from := time.Now().Add(s.warm)
	p, err := s.observe(ctx, from, from.Add(s.length))
	for range max(1, int(p.elapsed.Round(time.Second)/time.Second)) {
		p.taken = append(p.taken, time.Second)
	}
	return p, err
}
