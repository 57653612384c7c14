// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
)

// A scene is the life of one cluster of each contender: some connections, some
// data, then measures one after the other.
type scene struct {
	connections int
	floor       bool // the floor has answers for it
	prepare     func(context.Context, *stage) error
	measures    []measure
}

// A measure is one row of the table for each contender. What it counts is told
// by its unit.
type measure struct {
	name, unit string
	run        func(context.Context, *stage) (phase, error)
}

// connections that a thousand clients share, ten each.
const connections = 100

func scenes() []scene {
	nothing := func(context.Context, *stage) error { return nil }
	some := func(ctx context.Context, s *stage) error { return s.write(ctx, 4, getKeys, ordinal) }
	wide := func(ctx context.Context, s *stage) error { return s.write(ctx, 4, rangeKeys, rangeKey) }
	return []scene{
		{connections, true, nothing, []measure{
			{"put, 1 client", "puts", puts(1)},
			{"put, 1,000 clients", "puts", puts(1000)},
		}},
		{connections, true, except(floorTLS, some), []measure{
			{"get linearizable, 1 client", "gets", gets(1)},
			{"get linearizable, 1,000 clients", "gets", gets(1000)},
			{"get serializable, 1,000 clients", "gets", gets(1000, serializable)},
		}},
		{10, true, except(floorTLS, wide), []measure{
			{"range 10,000 keys", "ranges", ranges},
			{"range 10,000 keys, received", "ranges", rangesReceived},
		}},
		{connections, false, some, []measure{
			{"txn compare + put, 100 clients", "txns", txns(100)},
		}},
		{connections, false, nothing, []measure{
			{"watch 1 key, 100 watchers, each", "events", fanOutEach},
			{"watch 1 key, 100 watchers, last", "puts", fanOutLast},
		}},
		{connections, false, nothing, []measure{
			{"watch 10,000 keys, 10,000 watchers", "events", manyWatchers},
		}},
		{connections, false, nothing, []measure{
			{"lease keep-alive, 1,000 leases", "renewals", keepAlives},
		}},
	}
}

// except skips a preparation that one contender cannot and need not take.
func except(name string, prepare func(context.Context, *stage) error) func(context.Context, *stage) error {
	return func(ctx context.Context, s *stage) error {
		if s.member.name == name {
			return nil
		}
		return prepare(ctx, s)
	}
}

// bench is one run.
type bench struct {
	settings
	root       string
	contenders []contender
	log        io.Writer
}

// play takes the scenes in turn: within a scene the rounds, within a round the
// contenders, so that rivals are measured close to one another in time.
func (b bench) play(ctx context.Context, all []scene, report *report) error {
	for _, sc := range all {
		sc.measures = b.chosen(sc.measures)
		if len(sc.measures) == 0 {
			continue
		}
		for round := range b.rounds {
			for _, c := range b.contenders {
				if c.name == floorTLS && !sc.floor {
					continue
				}
				if err := b.perform(ctx, sc, c, round, report); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
		}
	}
	return nil
}

func (b bench) chosen(all []measure) (some []measure) {
	for _, m := range all {
		if b.only.MatchString(m.name) {
			some = append(some, m)
		}
	}
	return some
}

func (b bench) perform(ctx context.Context, sc scene, c contender, round int, report *report) error {
	all, err := launch(ctx, c, b.root, max(b.members, 1))
	if err != nil {
		return err
	}
	defer all.close()
	s, err := newStage(ctx, b.settings, all, sc.connections)
	if err != nil {
		return err
	}
	defer s.close()
	if err := sc.prepare(ctx, s); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := s.caughtUp(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	for _, measure := range sc.measures {
		f, err := quieter(b.quick, func() (figures, error) {
			p, err := measure.run(ctx, s)
			return p.figures(), err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", measure.name, err)
		}
		report.add(measure, c.name, f)
		fmt.Fprintf(b.log, "round %d  %-35s %-10s %9.0f/s  p50 %7.2f ms  p99 %7.2f ms  cpu %8.1f µs  others %2.0f %%\n",
			round+1, measure.name, c.name, f.Throughput, f.P50, f.P99, f.CPU, 100*f.Others)
	}
	return nil
}
