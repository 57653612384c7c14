// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"fmt"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// aftermath is how long, at most, each step of tidying up takes.
const aftermath = 30 * time.Second

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "try what a cluster can bear",
		Description: `The checks put keys of their own and delete them. Try them before others depend
on the cluster, for they load it.

Example:
  cleatctl check perf`,
		Subcommands: []*cli.Command{checkPerfCommand(), checkDatascaleCommand()},
	}
}

// trial is one run of a check.
type trial struct {
	crowd
	c      *cli.Context
	way    door
	out    *printer
	prefix string
}

// try connects n clients and makes sure that no key is in the way. The check's
// context ends with SIGINT or SIGTERM, so that no key stays then.
func try(c *cli.Context, n int, check func(context.Context, *trial) error) error {
	out, err := newPrinter(c, anyForm)
	if err != nil {
		return err
	}
	way, err := chooseDoor(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	clients, err := gather(ctx, c, way, n)
	if err != nil {
		return err
	}
	defer clients.Close()
	t := &trial{crowd: clients, c: c, way: way, out: out, prefix: c.String("prefix")}
	limited, cancel := context.WithTimeout(ctx, c.Duration("command-timeout"))
	defer cancel()
	there, err := clients[0].Get(limited, t.prefix, clientv3.WithPrefix(), clientv3.WithLimit(1))
	if err != nil {
		return fmt.Errorf("look for keys that begin with %q: %w", t.prefix, interrupted(ctx, err))
	}
	if len(there.Kvs) > 0 {
		return fmt.Errorf("prefix %q has keys: delete them with cleatctl del --prefix %s, or give another --prefix", t.prefix, t.prefix)
	}
	return check(ctx, t)
}

// say tells of the check itself, on stdout as etcdctl does.
func (t *trial) say(format string, args ...any) { _ = t.out.say(format, args...) } // who has gone is told of nothing

// tidy deletes what was put, and does what the flags ask for besides. It is not
// for a caller's context: an interrupted check tidies up, too.
func (t *trial) tidy(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.c.Context), limit)
	defer cancel()
	gone, err := t.crowd[0].Delete(ctx, t.prefix, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("delete the keys that begin with %q: %w", t.prefix, err)
	}
	if t.c.Bool("auto-compact") {
		if err := t.compact(gone.Header.GetRevision()); err != nil {
			return err
		}
	}
	if !t.c.Bool("auto-defrag") {
		return nil
	}
	for _, endpoint := range t.crowd[0].Endpoints() {
		if err := t.defragment(endpoint); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) compact(rev int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.c.Context), aftermath)
	defer cancel()
	t.say("Compacting with revision %d", rev)
	if _, err := t.crowd[0].Compact(ctx, rev, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("compact up to %d: %w", rev, err)
	}
	t.say("Compacted with revision %d", rev)
	return nil
}

func (t *trial) defragment(endpoint string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.c.Context), aftermath)
	defer cancel()
	t.say("Defragmenting %q", endpoint)
	if _, err := t.crowd[0].Defragment(ctx, endpoint); err != nil {
		return fmt.Errorf("defragment %s: %w", endpoint, err)
	}
	t.say("Defragmented %q", endpoint)
	return nil
}

// failed tells of the puts that failed, each text once.
func (t *trial) failed(of tally) bool {
	if len(of.failures) == 0 {
		return false
	}
	t.say("FAIL: too many errors")
	var lines []string
	for text, n := range of.failures {
		lines = append(lines, fmt.Sprintf("FAIL: ERROR(%s) -> %d", text, n))
	}
	slices.Sort(lines)
	for _, line := range lines {
		t.say("%s", line)
	}
	return true
}
