// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
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
}

const stalledName = "stalled"

// stalled writes with and without a watcher of everything whose client has
// stopped reading. Each writing has a fresh process; medians over the rounds.
func (b bench) stalled(ctx context.Context, report *report) error {
	if !b.only.MatchString(stalledName) {
		return nil
	}
	rates, growths := map[string][]float64{}, map[string][]float64{}
	for round := range b.rounds {
		for _, c := range b.rivals() {
			for _, kind := range []string{"without", "with"} {
				rate, growth, err := b.pass(ctx, c, kind == "with")
				if err != nil {
					return fmt.Errorf("%s: stalled: %w", c.name, err)
				}
				id := c.name + kind
				rates[id], growths[id] = append(rates[id], rate), append(growths[id], growth)
				fmt.Fprintf(b.log, "round %d  stalled  %-10s %-7s %9.0f/s  rss +%.0f MB\n", round+1, c.name, kind, rate, growth/1e6)
			}
		}
	}
	for _, c := range b.rivals() {
		s := slowed{Contender: c.name, Events: b.keys,
			Without: median(rates[c.name+"without"]), With: median(rates[c.name+"with"]),
			GrowthWithout: median(growths[c.name+"without"]), GrowthWith: median(growths[c.name+"with"])}
		s.Ratio = ratio(s.With, s.Without)
		report.Stalled = append(report.Stalled, s)
	}
	return nil
}

// pass writes the events once.
func (b bench) pass(ctx context.Context, c contender, watcher bool) (rate, growth float64, err error) {
	m, err := launch(ctx, c, b.root)
	if err != nil {
		return 0, 0, err
	}
	defer m.close()
	const writers = 8
	s, err := newStage(ctx, b.settings, m, writers)
	if err != nil {
		return 0, 0, err
	}
	defer s.close()
	if watcher {
		conn, err := stall(ctx, m)
		if err != nil {
			return 0, 0, err
		}
		defer conn.Close()
	}
	before, err := memoryOf(m.pid())
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := s.write(ctx, writers, b.keys, ordinal); err != nil {
		return 0, 0, err
	}
	took := time.Since(began)
	after, err := memoryOf(m.pid())
	return float64(b.keys) / took.Seconds(), float64(after - before), err
}

// stall watches everything and never reads on. Its window is HTTP/2's least
// and fixed, so that the member's stream is blocked after 64 KiB.
func stall(ctx context.Context, m *member) (*grpc.ClientConn, error) {
	const window = 65535
	conn, err := m.dial(grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window))
	if err != nil {
		return nil, err
	}
	if err := watchAll(ctx, conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func watchAll(ctx context.Context, conn *grpc.ClientConn) error {
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	if err != nil {
		return err
	}
	everything := &pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: everything}}); err != nil {
		return err
	}
	r, err := stream.Recv()
	if err != nil {
		return err
	}
	if !r.Created {
		return errors.New("the watcher was not created")
	}
	return nil
}
