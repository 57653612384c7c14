// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func lockCommand() *cli.Command {
	return &cli.Command{
		Name:      "lock",
		Usage:     "take a lock, and hold it while a command runs",
		ArgsUsage: "NAME [COMMAND ARG...]",
		Description: `Waits for the lock. COMMAND runs with ETCD_LOCK_KEY and ETCD_LOCK_REV in its
environment, and its exit code is this one's; put -- before it if one of its
arguments begins with -. Without COMMAND the key is printed and the lock held until
SIGINT or SIGTERM. A holder that dies loses the lock after --ttl.

Examples:
  cleatctl lock backup -- sh -c './backup && ./clean'
  cleatctl lock deploy --ttl 30`,
		Flags:  []cli.Flag{&cli.IntFlag{Name: "ttl", Value: 10, Usage: "others get the lock `SECONDS` after this program has died"}},
		Action: lock,
	}
}

func lock(c *cli.Context) error {
	name, command, ttl := c.Args().First(), c.Args().Tail(), c.Int("ttl")
	if name == "" {
		return misuse("lock needs NAME, and may have a COMMAND behind it")
	}
	if ttl < 1 {
		return misuse("--ttl is at least 1 second, not %d", ttl)
	}
	return stake(c, ttl, func(ctx context.Context, h *claim) error {
		mutex := concurrency.NewMutex(h.lease, name)
		if err := mutex.Lock(ctx); err != nil {
			return errors.Join(fmt.Errorf("wait for lock %s: %w", name, interrupted(ctx, err)), h.giveBack("the place among those who wait"))
		}
		if len(command) > 0 {
			return errors.Join(h.run(ctx, mutex, command), h.giveBack("lock "+name))
		}
		return errors.Join(h.hold(ctx, mutex.Key()), h.giveBack("lock "+name))
	})
}

// hold shows the key and waits for a signal.
func (h *claim) hold(ctx context.Context, key string) error {
	if err := h.show(ctx, key); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		note(h.c, "interrupted: gives %s back", key)
		return nil
	case <-h.lease.Done():
		return fmt.Errorf("%s was lost: no member has confirmed its lease in time, or somebody revoked it", key)
	}
}

// run runs the command. SIGTERM is passed on, so that the lock is free when the
// command has ended; SIGINT comes from a terminal, which sends it to both.
func (h *claim) run(ctx context.Context, mutex *concurrency.Mutex, command []string) error {
	terminated, stop := signal.NotifyContext(h.c.Context, syscall.SIGTERM)
	defer stop()
	if ctx.Err() != nil {
		return fmt.Errorf("%s was not run: %w", command[0], interrupted(ctx, nil))
	}
	run := exec.CommandContext(terminated, command[0], command[1:]...)
	run.Cancel = func() error {
		note(h.c, "terminated: gives %s back when %s has ended", mutex.Key(), command[0])
		return run.Process.Signal(syscall.SIGTERM)
	}
	run.Stdout, run.Stderr = h.c.App.Writer, h.c.App.ErrWriter
	run.Env = append(os.Environ(), "ETCD_LOCK_KEY="+mutex.Key(), fmt.Sprintf("ETCD_LOCK_REV=%d", mutex.Header().GetRevision()))
	told := h.tellOfLoss(mutex.Key(), command[0])
	err := run.Run()
	lost := told()
	switch {
	case run.ProcessState == nil: // it has not begun
		return err
	case !run.ProcessState.Success():
		return commandEnded{command[0], run.ProcessState}
	case lost:
		return fmt.Errorf("%s was lost before %s had ended", mutex.Key(), command[0])
	}
	return nil
}

// tellOfLoss tells at once when the lock is lost. What it returns ends that,
// and tells whether it was.
func (h *claim) tellOfLoss(key, command string) func() (lost bool) {
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-h.lease.Done():
			note(h.c, "%s is lost: somebody else may take the lock while %s runs", key, command)
		case <-ended:
		}
	})
	return func() bool {
		close(ended)
		watching.Wait()
		return h.lost()
	}
}

// commandEnded is a command that was run for the caller and has failed: the
// program ends with its exit code.
type commandEnded struct {
	command string
	state   *os.ProcessState
}

func (e commandEnded) Error() string { return fmt.Sprintf("%s: %s", e.command, e.state) }

// code is 255 for a command that a signal has ended, as etcdctl's.
func (e commandEnded) code() int { return e.state.ExitCode() & 0xff }
