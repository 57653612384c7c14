// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// slowed is what a watcher that stops reading costs a writer.
type slowed struct {
	Contender string  `json:"contender"`
	Events    int     `json:"events"`
	Without   float64 `json:"events_per_s_without"`
	With      float64 `json:"events_per_s_with"`
	Ratio     float64 `json:"with_to_without"`
	// What the process grew by while the events passed. Without a watcher it
	// is the price of the keys themselves.
	GrowthWithout float64 `json:"rss_growth_bytes_without"`
	GrowthWith    float64 `json:"rss_growth_bytes_with"`
	// How long the watcher needs for all events once it reads again.
	CatchUp float64 `json:"catch_up_s"`
	Others  float64 `json:"cpu_share_of_others"`
}

const stalledName = "stalled"

// passed is one writing of the events.
type passed struct{ rate, growth, others, catchUp float64 }

// stalled writes with and without a watcher of everything whose client has
// stopped reading. Each writing has a fresh process; medians over the rounds.
func (b bench) stalled(ctx context.Context, report *report) error {
	if !b.only.MatchString(stalledName) {
		return nil
	}
	without, with := map[string][]passed{}, map[string][]passed{}
	for round := range b.rounds {
		for _, c := range b.rivals() {
			free, err := b.pass(ctx, c, false)
			if err != nil {
				return fmt.Errorf("%s: write without a watcher: %w", c.name, err)
			}
			held, err := b.pass(ctx, c, true)
			if err != nil {
				return fmt.Errorf("%s: write with a stalled watcher: %w", c.name, err)
			}
			without[c.name], with[c.name] = append(without[c.name], free), append(with[c.name], held)
			fmt.Fprintf(b.log, "round %d  stalled  %-10s  without %+v  with %+v\n", round+1, c.name, free, held)
		}
	}
	for _, c := range b.rivals() {
		report.Stalled = append(report.Stalled, summarize(c.name, b.keys, without[c.name], with[c.name]))
	}
	return nil
}

func summarize(name string, events int, without, with []passed) slowed {
	of := func(all []passed, field func(passed) float64) float64 {
		var values []float64
		for _, p := range all {
			values = append(values, field(p))
		}
		return median(values)
	}
	rate := func(p passed) float64 { return p.rate }
	growth := func(p passed) float64 { return p.growth }
	s := slowed{Contender: name, Events: events,
		Without: of(without, rate), With: of(with, rate),
		GrowthWithout: of(without, growth), GrowthWith: of(with, growth),
		CatchUp: of(with, func(p passed) float64 { return p.catchUp }),
		Others:  of(append(slices.Clone(without), with...), func(p passed) float64 { return p.others }),
	}
	s.Ratio = ratio(s.With, s.Without)
	return s
}

// pass writes the events once. A watcher that was stalled then reads all of
// them, or the member had got rid of it and nothing was measured.
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
	var w *stalledWatcher
	if watcher {
		if w, err = stall(ctx, m); err != nil {
			return p, err
		}
		defer w.conn.Close()
	}
	before, err := memoryOf(m.pid())
	if err != nil {
		return p, err
	}
	started, err := startMeter(m.pid())
	if err != nil {
		return p, err
	}
	if err := s.write(ctx, writers, b.keys, ordinal); err != nil {
		return p, err
	}
	seen, err := started.stop()
	p.rate = float64(b.keys) / seen.elapsed.Seconds()
	p.growth, p.others = float64(seen.memory-before), seen.others
	if err != nil || !watcher {
		return p, err
	}
	began := time.Now()
	err = w.drain(b.keys)
	p.catchUp = time.Since(began).Seconds()
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
