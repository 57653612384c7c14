// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
)

// All members compute the same from the same log. If a disk or a mistake in the
// program makes one of them differ, nobody would notice until its clients do.
// So the leader has all of them hash their history up to one revision, compares
// the hashes, and raises etcd's CORRUPT alarm when they differ twice in a row:
// from then on every write is refused until an administrator takes it back.

// hashShare is how much of one core hashing may take: after each piece a member
// rests for what is left of it. A history that has not changed since the last
// comparison is not hashed again.
const hashShare = 0.05

// comparison is what the leader remembers between two rounds, and its metrics.
type comparison struct {
	rounds  prometheus.Counter
	seconds prometheus.Counter
	differ  prometheus.Gauge
}

func newComparison(r prometheus.Registerer) *comparison {
	c := &comparison{
		rounds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cleat_hash_comparisons_total", Help: "Times this member, as the leader, compared the members' histories.",
		}),
		seconds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "cleat_hash_seconds_total", Help: "Time this member spent on hashing its history for comparisons.",
		}),
		differ: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cleat_divergent_members", Help: "Members whose history differed from the others' in the last comparison that this member made.",
		}),
	}
	r.MustRegister(c.rounds, c.seconds, c.differ)
	return c
}

// digest is a member's history in short. Two are comparable if they were
// compacted alike.
type digest struct {
	hash      uint32
	compacted int64
}

// compare has all members hashed in the background while this one leads.
func (d *Daemon) compare(ctx context.Context) error {
	return d.whileSame(ctx, []string{"hash-interval"}, d.compareBy)
}

func (d *Daemon) compareBy(ctx context.Context, c *Config) error {
	if c.HashInterval == 0 {
		return nil
	}
	tick := time.NewTicker(c.HashInterval)
	defer tick.Stop()
	var done, suspects string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		members := d.node.Members()
		now := fmt.Sprint(d.store.Revision(), d.store.Compacted(), members)
		if now == done || len(members) < 2 {
			continue
		}
		digests, all := d.digests(ctx)
		if ctx.Err() != nil {
			return nil
		}
		d.comparison.rounds.Inc()
		wrong := divergent(digests)
		d.comparison.differ.Set(float64(len(wrong)))
		if len(wrong) == 0 {
			suspects = ""
			if all {
				done = now
			}
			continue
		}
		if found := fmt.Sprint(wrong); suspects != found { // a mistake in an alarm stops the cluster
			suspects = found
			d.log.Warn("members' histories differ; looking again", "members", hexIDs(wrong))
			continue
		}
		d.raiseCorrupt(ctx, wrong, digests)
	}
}

func (d *Daemon) raiseCorrupt(ctx context.Context, wrong []uint64, digests map[uint64]digest) {
	for _, id := range wrong {
		alarm := state.Alarm{Type: pb.AlarmType_CORRUPT, Member: id}
		if slices.Contains(d.machine.Alarms(), alarm) {
			continue
		}
		d.log.Error("a member's history differs from the others': writes are refused until an administrator removes that member, or finds it right, and disarms the alarm",
			"member", hexID(id), "hashes", hashesOf(digests))
		if _, err := committed(d.node.Propose(ctx, state.AlarmCommand(selfIdentity, alarm, true))); err != nil && ctx.Err() == nil {
			d.log.Error("the alarm is not raised; the next round tries again", "member", hexID(id), "cause", err)
		}
	}
}

func hashesOf(digests map[uint64]digest) []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(digests)) {
		out = append(out, fmt.Sprintf("%s=%08x", hexID(id), digests[id].hash))
	}
	return out
}

func hexIDs(ids []uint64) []string {
	var out []string
	for _, id := range ids {
		out = append(out, hexID(id))
	}
	return out
}

// digests asks every member for its digest up to this one's revision, and says
// whether all of them can be compared.
func (d *Daemon) digests(ctx context.Context) (found map[uint64]digest, all bool) {
	question := binary.AppendVarint([]byte{askHash}, d.store.Revision())
	members := d.node.Members()
	found = make(map[uint64]digest)
	var mu sync.Mutex // guards found
	var asking sync.WaitGroup
	for _, m := range members {
		asking.Go(func() {
			answer, err := d.node.Ask(ctx, m.ID, question)
			if err == nil && len(answer) == 0 {
				return // it cannot tell
			}
			var digested digest
			if err == nil {
				digested, err = parseDigest(answer)
			}
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, raft.ErrUnreached) {
					d.log.Info("a member's history is not compared this time", "member", hexID(m.ID), "cause", err)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			found[m.ID] = digested
		})
	}
	asking.Wait()
	compacted := make(map[int64]bool)
	for _, digested := range found {
		compacted[digested.compacted] = true
	}
	return found, len(found) == len(members) && len(compacted) == 1
}

// divergent returns the members whose digest is not that of most, or 0 for an
// unknown one if there are no most.
func divergent(digests map[uint64]digest) []uint64 {
	alike := make(map[int64]map[uint32][]uint64) // by compaction, by hash
	for _, id := range slices.Sorted(maps.Keys(digests)) {
		found := digests[id]
		if alike[found.compacted] == nil {
			alike[found.compacted] = make(map[uint32][]uint64)
		}
		alike[found.compacted][found.hash] = append(alike[found.compacted][found.hash], id)
	}
	var wrong []uint64
	for _, groups := range alike {
		if len(groups) > 1 {
			wrong = append(wrong, minority(groups)...)
		}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

func minority(groups map[uint32][]uint64) []uint64 {
	total, most := 0, []uint64(nil)
	for _, ids := range groups {
		total += len(ids)
		if len(ids) > len(most) {
			most = ids
		}
	}
	if 2*len(most) <= total {
		return []uint64{0}
	}
	var rest []uint64
	for _, ids := range groups {
		if ids[0] != most[0] {
			rest = append(rest, ids...)
		}
	}
	return rest
}

// answerHash hashes this member's history up to a revision, which it waits for.
// The answer is empty if the revision was compacted meanwhile.
func (d *Daemon) answerHash(ctx context.Context, question []byte) ([]byte, error) {
	revision, n := binary.Varint(question)
	if n != len(question) {
		return nil, fmt.Errorf("daemon: malformed question of %d bytes about a hash", len(question))
	}
	if err := d.store.Wait(ctx, revision); err != nil {
		return nil, err
	}
	h, err := d.store.HashKVPaced(revision, d.paced(ctx))
	if errors.Is(err, kv.ErrCompacted) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return binary.AppendVarint(binary.BigEndian.AppendUint32(nil, h.Hash), h.CompactRevision), nil
}

func parseDigest(answer []byte) (digest, error) {
	if len(answer) > 4 {
		if compacted, n := binary.Varint(answer[4:]); n == len(answer)-4 {
			return digest{binary.BigEndian.Uint32(answer), compacted}, nil
		}
	}
	return digest{}, fmt.Errorf("daemon: malformed answer of %d bytes about a hash", len(answer))
}

// paced returns a function that rests as long as hashShare asks for since it
// was called last.
func (d *Daemon) paced(ctx context.Context) func() error {
	began := time.Now()
	return func() error {
		took := time.Since(began)
		d.comparison.seconds.Add(took.Seconds())
		rest := time.NewTimer(time.Duration(float64(took) * (1 - hashShare) / hashShare))
		defer rest.Stop()
		select {
		case <-rest.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		began = time.Now()
		return nil
	}
}
