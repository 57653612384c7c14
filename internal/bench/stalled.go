// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// slowed is what a watcher that stops reading costs a writer, while others
// watch each key that is written.
type slowed struct {
	Contender string  `json:"contender"`
	Events    int     `json:"events"`
	Watchers  int     `json:"watchers_of_single_keys"`
	Without   float64 `json:"events_per_s_without"`
	With      float64 `json:"events_per_s_with"`
	Ratio     float64 `json:"with_to_without"` // the median of the rounds' ratios
	// The server's CPU time an event is freer of what else the machine does.
	CPUWithout float64 `json:"server_cpu_us_per_event_without"`
	CPUWith    float64 `json:"server_cpu_us_per_event_with"`
	// What the process grew by while the events passed. Without a watcher it
	// is the price of the keys themselves.
	GrowthWithout float64 `json:"rss_growth_bytes_without"`
	GrowthWith    float64 `json:"rss_growth_bytes_with"`
	// How long the watcher needs for all events once it reads again.
	CatchUp float64 `json:"catch_up_s"`
	Others  float64 `json:"cpu_share_of_others"`
}

const stalledName = "stalled"

// watchers of a key each, which are served all the time.
const singles = 10_000

// passed is one writing of the events.
type passed struct{ rate, cpu, growth, others, catchUp float64 }

func (p passed) shared() float64 { return p.others }

// A pair is one writing without the watcher and one with it, close in time.
type pair struct{ without, with passed }

func (p pair) shared() float64 { return max(p.without.others, p.with.others) }

// stalled writes with and without a watcher of everything whose client has
// stopped reading. Each writing has a fresh process; the two take turns in
// being the first, and medians are over the rounds that others did not blur.
func (b bench) stalled(ctx context.Context, report *report) error {
	if !b.only.MatchString(stalledName) {
		return nil
	}
	pairs := map[string][]pair{}
	for round := range b.rounds {
		for _, c := range b.rivals() {
			p, err := b.pair(ctx, c, round%2 == 1)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			pairs[c.name] = append(pairs[c.name], p)
			fmt.Fprintf(b.log, "round %d  stalled  %-10s  %+v\n", round+1, c.name, p)
		}
	}
	for _, c := range b.rivals() {
		report.Stalled = append(report.Stalled, summarize(c.name, b.keys, pairs[c.name]))
	}
	return nil
}

func (b bench) pair(ctx context.Context, c contender, stalledFirst bool) (p pair, err error) {
	for _, watcher := range []bool{stalledFirst, !stalledFirst} {
		seen, err := quieter(b.quick, func() (passed, error) { return b.pass(ctx, c, watcher) })
		if err != nil {
			return p, fmt.Errorf("write with a stalled watcher (%v): %w", watcher, err)
		}
		if watcher {
			p.with = seen
			continue
		}
		p.without = seen
	}
	return p, nil
}

func summarize(name string, events int, rounds []pair) slowed {
	rounds = quiet(rounds)
	of := func(field func(pair) float64) float64 { return medianOf(rounds, field) }
	return slowed{Contender: name, Events: events, Watchers: singles,
		Without:       of(func(p pair) float64 { return p.without.rate }),
		With:          of(func(p pair) float64 { return p.with.rate }),
		Ratio:         of(func(p pair) float64 { return ratio(p.with.rate, p.without.rate) }),
		CPUWithout:    of(func(p pair) float64 { return p.without.cpu }),
		CPUWith:       of(func(p pair) float64 { return p.with.cpu }),
		GrowthWithout: of(func(p pair) float64 { return p.without.growth }),
		GrowthWith:    of(func(p pair) float64 { return p.with.growth }),
		CatchUp:       of(func(p pair) float64 { return p.with.catchUp }),
		Others:        of(pair.shared),
	}
}

// pass writes the events once, to the watched keys round and round, and sees
// them delivered. A watcher that was stalled then reads all of them, or the
// member had got rid of it and nothing was measured.
func (b bench) pass(ctx context.Context, c contender, watcher bool) (p passed, err error) {
	all, err := launch(ctx, c, b.root, 1)
	if err != nil {
		return p, err
	}
	m := all[0]
	defer m.close()
	const writers = 8
	s, err := newStage(ctx, b.settings, cluster{m}, writers)
	if err != nil {
		return p, err
	}
	defer s.close()
	served, err := s.watch(ctx, singles, ordinal)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, served.close()) }()
	var w *stalledWatcher
	if watcher {
		if w, err = stall(ctx, m); err != nil {
			return p, err
		}
		defer w.conn.Close()
	}
	if p, err = b.flow(ctx, s, served, writers); err != nil || !watcher {
		return p, err
	}
	began := time.Now()
	err = w.drain(b.keys)
	p.catchUp = time.Since(began).Seconds()
	return p, err
}

// flow writes the events while they are delivered. The clock stops when all
// are written: it is the writers that may become slow. The CPU's stops when
// all have been delivered, too.
func (b bench) flow(ctx context.Context, s *stage, served *watched, writers int) (p passed, err error) {
	before, err := memoryOf(s.member.pid())
	if err != nil {
		return p, err
	}
	started, err := startMeter(s.member.pid())
	if err != nil {
		return p, err
	}
	group, within := errgroup.WithContext(ctx)
	group.Go(func() error { return served.wait(within, b.keys, func(time.Time) {}) })
	group.Go(func() error {
		err := s.write(within, writers, b.keys, func(i int) string { return ordinal(i % singles) })
		p.rate = float64(b.keys) / time.Since(started.began).Seconds()
		return err
	})
	if err := group.Wait(); err != nil {
		return p, err
	}
	seen, err := started.stop()
	p.cpu = float64(seen.cpu.Microseconds()) / float64(b.keys)
	p.growth, p.others = float64(seen.memory-before), seen.others
	return p, err
}

// A stalledWatcher has asked for every event and does not read.
type stalledWatcher struct {
	conn   *grpc.ClientConn
	stream pb.Watch_WatchClient
}

// stall opens one. Its window is HTTP/2's least and fixed, so that the
// member's stream is blocked after 64 KiB.
func stall(ctx context.Context, m *member) (*stalledWatcher, error) {
	const window = 65535
	conn, err := m.dial(grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window))
	if err != nil {
		return nil, err
	}
	stream, err := watchAll(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &stalledWatcher{conn, stream}, nil
}

func watchAll(ctx context.Context, conn *grpc.ClientConn) (pb.Watch_WatchClient, error) {
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		return nil, err
	}
	everything := &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: everything}}); err != nil {
		return nil, err
	}
	r, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if !r.Created {
		return nil, errors.New("the watcher was not created")
	}
	return stream, nil
}

// drain reads n events, in the order of their revisions.
func (w *stalledWatcher) drain(n int) error {
	var newest int64
	for n > 0 {
		r, err := w.stream.Recv()
		if err != nil {
			return fmt.Errorf("%d events before the end: %w", n, err)
		}
		if r.Canceled {
			return fmt.Errorf("%d events before the end the member cancelled the watcher: %s", n, r.CancelReason)
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision < newest {
				return fmt.Errorf("an event of revision %d came after one of %d", e.Kv.ModRevision, newest)
			}
			newest = e.Kv.ModRevision
		}
		n -= len(r.Events)
	}
	return nil
}
