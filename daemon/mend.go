// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"syscall"
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
			err, d.config.DataDir)
	default:
		return err
	}
}

// withRoom adds to an error of a full disk what to do about it; other errors of
// a start say enough.
func (d *Daemon) withRoom(err error) error {
	if !full(err) {
		return err
	}
	return fmt.Errorf("%w; make room on the disk of %s and start cleatd again: nothing that was acknowledged is lost",
		err, d.config.DataDir)
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
