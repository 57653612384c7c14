// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// kept is what saving a snapshot of many keys costs one contender, and those
// who put meanwhile.
type kept struct {
	Contender string  `json:"contender"`
	Keys      int     `json:"keys"`
	Bytes     int64   `json:"snapshot_bytes"`
	Save      float64 `json:"save_s"` // until the last of it has come
	CPU       float64 `json:"server_cpu_s"`
	Memory    int64   `json:"rss_bytes_after"`
	P99Idle   float64 `json:"put_p99_ms_before"`
	P99       float64 `json:"put_p99_ms_meanwhile"`
	Ratio     float64 `json:"put_p99_meanwhile_to_before"`
	Others    float64 `json:"cpu_share_of_others"` // during the save
}

func (k kept) shared() float64 { return k.Others }

const backupName = "backup"

// Puts beside a save come at a fixed rate, each timed from when it was due, so
// that a server that stands still is seen.
const (
	putters    = 10
	putEvery   = 10 * time.Millisecond
	beforeSave = 10 * time.Second
)

// backups saves a million keys of cleat's and of etcd's.
func (b bench) backups(ctx context.Context, report *report) error {
	if !b.only.MatchString(backupName) {
		return nil
	}
	for _, c := range b.rivals() {
		k, err := b.keepOf(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: backup: %w", c.name, err)
		}
		report.Backups = append(report.Backups, k)
	}
	return nil
}

// keepOf takes the median over the rounds that others did not blur.
func (b bench) keepOf(ctx context.Context, c contender) (kept, error) {
	all, err := launch(ctx, c, b.root, 1)
	if err != nil {
		return kept{}, err
	}
	defer all.close()
	s, err := newStage(ctx, b.settings, all, putters)
	if err != nil {
		return kept{}, err
	}
	defer s.close()
	if err := s.write(ctx, 8, b.keys, ordinal); err != nil {
		return kept{}, fmt.Errorf("load: %w", err)
	}
	if err := until(ctx, time.Now().Add(b.settle/3)); err != nil { // what the load left to do
		return kept{}, err
	}
	var rounds []kept
	for round := range b.rounds {
		k, err := quieter(b.quick, func() (kept, error) { return b.save(ctx, s) })
		if err != nil {
			return kept{}, err
		}
		rounds = append(rounds, k)
		fmt.Fprintf(b.log, "round %d  backup  %-10s  %+v\n", round+1, c.name, k)
	}
	rounds = quiet(rounds)
	of := func(field func(kept) float64) float64 { return medianOf(rounds, field) }
	return kept{
		Contender: c.name, Keys: b.keys, Bytes: rounds[0].Bytes,
		Save:    of(func(k kept) float64 { return k.Save }),
		CPU:     of(func(k kept) float64 { return k.CPU }),
		Memory:  int64(of(func(k kept) float64 { return float64(k.Memory) })),
		P99Idle: of(func(k kept) float64 { return k.P99Idle }),
		P99:     of(func(k kept) float64 { return k.P99 }),
		Ratio:   of(func(k kept) float64 { return k.Ratio }),
		Others:  of(kept.shared),
	}, nil
}

// save puts for a while, then saves and puts.
func (b bench) save(ctx context.Context, s *stage) (k kept, err error) {
	idle, cancel := context.WithTimeout(ctx, beforeSave)
	defer cancel()
	before, err := s.putSteadily(ctx, idle.Done())
	if err != nil {
		return k, err
	}
	started, err := startMeter(s.member.pid())
	if err != nil {
		return k, err
	}
	saved := make(chan struct{})
	group, within := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		defer close(saved)
		began := time.Now()
		k.Bytes, err = fetch(within, s)
		k.Save = time.Since(began).Seconds()
		return err
	})
	var meanwhile phase
	group.Go(func() (err error) {
		meanwhile, err = s.putSteadily(within, saved)
		return err
	})
	if err := group.Wait(); err != nil {
		return k, err
	}
	seen, err := started.stop()
	if err != nil {
		return k, err
	}
	before.elapsed, meanwhile.elapsed = time.Second, time.Second // their throughput is given
	k.P99Idle, k.P99 = before.figures().P99, meanwhile.figures().P99
	k.Contender, k.Keys, k.Ratio = s.member.name, b.keys, ratio(k.P99, k.P99Idle)
	k.CPU, k.Memory, k.Others = seen.cpu.Seconds(), seen.memory, seen.others
	return k, nil
}

// fetch takes a snapshot and keeps none of it: the disk is the member's alone.
func fetch(ctx context.Context, s *stage) (int64, error) {
	r, err := s.clients[0].Snapshot(ctx)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(io.Discard, r)
}

// putSteadily puts until done is closed.
func (s *stage) putSteadily(ctx context.Context, done <-chan struct{}) (phase, error) {
	taken := make([][]time.Duration, putters)
	group, ctx := errgroup.WithContext(ctx)
	for i := range putters {
		group.Go(func() error {
			due := time.Now().Add(time.Duration(i) * putEvery / putters)
			for {
				select {
				case <-done:
					return nil
				case <-time.After(time.Until(due)):
				}
				if _, err := s.clientOf(i).Put(ctx, knownKey(), value()); err != nil {
					return err
				}
				taken[i] = append(taken[i], time.Since(due))
				due = due.Add(putEvery)
			}
		})
	}
	err := group.Wait()
	var p phase
	for _, t := range taken {
		p.taken = append(p.taken, t...)
	}
	return p, err
}
