// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// loadNames are etcdctl's names for how much a check does.
var loadNames = map[string]string{
	"s": "s", "small": "s", "m": "m", "medium": "m", "l": "l", "large": "l", "xl": "xl", "xLarge": "xl",
}

func loadFlags(prefix string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "load", Value: "s", Usage: "how much: `SIZE` s, m, l or xl"},
		&cli.StringFlag{Name: "prefix", Value: prefix, Usage: "put keys that begin with `PREFIX`, of which there must be none"},
		&cli.BoolFlag{Name: "auto-compact", Usage: "compact the history when done"},
		&cli.BoolFlag{Name: "auto-defrag", Usage: "defragment when done (a cleat member has nothing to defragment)"},
	}
}

// load finds a check's numbers by the name of the load.
func load[T any](c *cli.Context, loads map[string]T) (T, error) {
	size, ok := loads[loadNames[c.String("load")]]
	if !ok {
		return size, misuse("--load is s, m, l or xl, not %q", c.String("load"))
	}
	return size, noArguments(c)
}

// crowd is many clients, each with a connection of its own.
type crowd []*clientv3.Client

// gather connects n clients, unless ctx ends.
func gather(ctx context.Context, c *cli.Context, way door, n int) (crowd, error) {
	who, err := way.login(c) // once, not for each connection
	if err != nil {
		return nil, err
	}
	way.who = &who
	var all crowd
	for range n {
		connected, err := way.connect(c)
		if err == nil {
			all = append(all, connected)
		}
		if err != nil || ctx.Err() != nil {
			all.Close()
			return nil, interrupted(ctx, err)
		}
	}
	return all, nil
}

// Close ends the connections; what that could fail with no longer matters.
func (all crowd) Close() {
	for _, each := range all {
		_ = each.Close()
	}
}

// put has the clients do what comes from the channel, until it is closed. What
// was sent is waited for also when ctx has ended: a put that nobody waits for
// could come to the member behind the deletion of all of them.
func (all crowd) put(ctx context.Context, limit time.Duration, puts <-chan clientv3.Op) tally {
	ctx = context.WithoutCancel(ctx)
	took, failed := make([][]time.Duration, len(all)), make([]map[string]int, len(all))
	var working sync.WaitGroup
	start := time.Now()
	for i, each := range all {
		working.Go(func() {
			failed[i] = map[string]int{}
			for op := range puts {
				began := time.Now()
				limited, cancel := context.WithTimeout(ctx, limit)
				_, err := each.Do(limited, op)
				cancel()
				if err != nil {
					failed[i][err.Error()]++
					continue
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	working.Wait()
	return sum(time.Since(start), took, failed)
}

// tally is what came of many puts.
type tally struct {
	rate            float64 // puts a second
	slowest, spread float64 // in seconds; spread is the standard deviation
	failures        map[string]int
}

func sum(total time.Duration, took [][]time.Duration, failed []map[string]int) tally {
	t := tally{failures: map[string]int{}}
	for _, each := range failed {
		for text, n := range each {
			t.failures[text] += n
		}
	}
	var n, mean, squares float64 // Welford's
	for _, each := range took {
		for _, one := range each {
			n++
			seconds := one.Seconds()
			t.slowest = max(t.slowest, seconds)
			off := seconds - mean
			mean += off / n
			squares += off * (seconds - mean)
		}
	}
	if n > 0 {
		t.rate, t.spread = n/total.Seconds(), math.Sqrt(squares/n)
	}
	return t
}

// randomPut is a key that no other put has, and a value of zeros. Their sizes
// are etcdctl's.
func randomPut(prefix string, keySize, valueSize int) clientv3.Op {
	key := make([]byte, keySize)
	binary.PutVarint(key, rand.Int64())
	return clientv3.OpPut(prefix+string(key), string(make([]byte, valueSize)))
}

// pace gives out puts at a rate, until ctx ends, and closes the channel. A
// tenth of a second that was lost is made up for, more is not.
func pace(ctx context.Context, rate int, puts chan<- clientv3.Op, next func() clientv3.Op) {
	defer close(puts)
	step, due := time.Second/time.Duration(rate), time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if early := time.Until(due); early > 0 {
			timer.Reset(early)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		} else if early < -100*time.Millisecond {
			due = time.Now()
		}
		select {
		case puts <- next():
		case <-ctx.Done():
			return
		}
		due = due.Add(step)
	}
}
