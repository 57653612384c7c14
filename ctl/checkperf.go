// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func checkPerfCommand() *cli.Command {
	return &cli.Command{
		Name:  "perf",
		Usage: "try whether the cluster keeps up with so many puts a second",
		Description: `For a minute clients put keys at 150 (s, 50 clients), 1000 (m, 200), 8000 (l, 500)
or 15000 (xl, 1000) a second. It passes when nine tenths of that are done, no put
takes longer than half a second and the standard deviation is below a tenth.

Examples:
  cleatctl check perf
  cleatctl check perf --load=m --duration=10s`,
		Flags: append(loadFlags("/etcdctl-check-perf/"),
			&cli.DurationFlag{Name: "duration", Value: time.Minute, Usage: "put keys for `TIME`"}),
		Action: checkPerf,
	}
}

// perfLoad is puts a second, and by how many clients.
type perfLoad struct{ rate, clients int }

var perfLoads = map[string]perfLoad{"s": {150, 50}, "m": {1000, 200}, "l": {8000, 500}, "xl": {15000, 1000}}

func checkPerf(c *cli.Context) error {
	size, err := load(c, perfLoads)
	if err != nil {
		return err
	}
	duration := c.Duration("duration")
	if duration < time.Second {
		return misuse("--duration is at least 1s, not %s", duration)
	}
	return try(c, size.clients, func(ctx context.Context, t *trial) error {
		result := t.press(ctx, size, duration)
		if err := t.tidy(aftermath); err != nil {
			t.say("FAIL: Cleanup failed during key deletion: ERROR(%v)", err)
		}
		if ctx.Err() != nil {
			return errors.New("interrupted: nothing can be said of the performance")
		}
		return t.verdict(result, size)
	})
}

// press puts keys at the load's rate for so long.
func (t *trial) press(ctx context.Context, size perfLoad, duration time.Duration) tally {
	timed, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	puts := make(chan clientv3.Op, size.clients)
	var pacing sync.WaitGroup
	defer pacing.Wait()
	pacing.Go(func() {
		pace(timed, size.rate, puts, func() clientv3.Op { return randomPut(t.prefix, 256, 1024) })
	})
	return t.put(ctx, t.c.Duration("command-timeout"), puts)
}

// verdict judges by etcdctl's bounds, in its words.
func (t *trial) verdict(result tally, size perfLoad) error {
	bad := t.failed(result)
	judge := func(good bool, pass, fail string, value any) {
		text := pass
		if !good {
			bad, text = true, fail
		}
		t.say(text, value)
	}
	judge(result.rate/float64(size.rate) > 0.9, "PASS: Throughput is %d writes/s", "FAIL: Throughput too low: %d writes/s", int(result.rate)+1)
	judge(result.slowest <= 0.5, "PASS: Slowest request took %fs", "Slowest request took too long: %fs", result.slowest)
	judge(result.spread <= 0.1, "PASS: Stddev is %fs", "Stddev too high: %fs", result.spread)
	if bad {
		t.say("FAIL")
		return fmt.Errorf("the cluster does not keep up with %d puts a second: look at its disks and at cleatctl endpoint status --cluster", size.rate)
	}
	t.say("PASS")
	return nil
}
