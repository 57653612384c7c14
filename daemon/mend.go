// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/raft"
)

// withMend adds to an error of the running member's disk what to do about it. A
// member that cannot write stops rather than go on without: nothing is repaired
// by itself, and nothing is lost either, because what was acknowledged is in
// the log.
func (d *Daemon) withMend(err error) error {
	var errno syscall.Errno
	switch {
	case full(err):
		return d.withRoom(err)
	case errors.As(err, &errno):
		return fmt.Errorf("%w; mend the disk of %s (dmesg may tell more) and start cleatd again: nothing that was acknowledged is lost",
			err, d.config().DataDir)
	default:
		return err
	}
}

// unfit tells of a data directory with which no start can succeed, so that systemd
// tries no further; other errors stay as they are.
func (d *Daemon) unfit(err error) error {
	switch {
	case errors.Is(err, raft.ErrMember):
		return fmt.Errorf("%w: data directory %s: member.json names another member than the log: %w", ErrConfig, d.dir.path, err)
	case errors.Is(err, kv.ErrFormat):
		return fmt.Errorf("%w: data directory %s: %w: install a newer cleatd", ErrConfig, d.dir.path, err)
	case errors.Is(err, kv.ErrDamaged), errors.Is(err, raft.ErrDamaged):
		return fmt.Errorf("%w: data directory %s: %w; move the directory aside and begin with an empty one: "+
			"where other members are, remove this one there and let the machine join again, else restore a snapshot (man cleatd-restore)",
			ErrConfig, d.dir.path, err)
	}
	return err
}

// withRoom adds to an error of a full disk what to do about it; other errors of
// a start say enough.
func (d *Daemon) withRoom(err error) error {
	if !full(err) {
		return err
	}
	return fmt.Errorf("%w; make room on the disk of %s and start cleatd again: nothing that was acknowledged is lost",
		err, d.config().DataDir)
}

// withAgain adds to an error of a disk what to do about it when a command has
// met it that may be given again.
func (d *Daemon) withAgain(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrConfig):
		return err
	case full(err):
		return fmt.Errorf("%w; make room on the disk of %s and give the same command again", err, d.config().DataDir)
	case errors.As(err, &errno):
		return fmt.Errorf("%w; mend the disk of %s (dmesg may tell more) and give the same command again", err, d.config().DataDir)
	}
	return err
}

// unlessFatal returns what act does, or what ends a member meanwhile, without
// waiting for act then: Pebble does not return to who met a disk with which it
// cannot go on.
func (d *Daemon) unlessFatal(act func() error) error {
	done := make(chan error, 1)
	go func() { done <- act() }()
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
		select {
		case cause := <-d.fatal:
			return cause
		default:
			return err
		}
	case err := <-d.fatal:
		return err
	}
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// oneLine is an error as logs and status lines have it.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
