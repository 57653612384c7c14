// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A cluster may run two versions of the program while it is upgraded. Each
// member announces in its row the newest format that it reads; the cluster
// agrees upon one, and raises it only when all members read the next. A command
// begins with the format that it needs: in a cluster of an older format every
// member refuses it, whether it could read it or not, so that they stay alike.

// Format is the newest format of the replicated state that this version reads
// and writes.
const Format = 1

// firstFormat is the one of a cluster that never raised it, and of a member
// that announces none.
const firstFormat = 1

// ErrFormat is returned when somebody does not read the cluster's format.
var ErrFormat = errors.New("state: format not readable")

var metaFormat = []byte("format")

// FormatCommand returns the command that raises the cluster's format. The
// result is ErrFormat if a member's row says that it could not follow.
func FormatCommand(format uint32) []byte {
	return binary.BigEndian.AppendUint32(appendPrefix(nil, kindFormat, Identity{Root: true}), format)
}

func (a *applier) raise(body []byte) (Reply, error) {
	if len(body) != 4 {
		return Reply{}, fmt.Errorf("%w: format of %d bytes", ErrCommand, len(body))
	}
	format := binary.BigEndian.Uint32(body)
	t, err := readRoll(a.batch)
	if err != nil {
		return Reply{}, err
	}
	if format <= t.format {
		return Reply{Revision: a.revision()}, nil
	}
	if t.common() < format {
		return Reply{}, ErrFormat
	}
	if format > a.machine.newest {
		return Reply{}, a.machine.tooOld(format)
	}
	a.format = format
	return a.changed(func() { a.batch.Set(tableMeta, metaFormat, body) })
}

// tooOld is what stops a member that the cluster has left behind.
func (m *Machine) tooOld(format uint32) error {
	return fmt.Errorf("the cluster has format %d, this cleatd reads up to %d: install a newer one", format, m.newest)
}

// common is the newest format that all members read; none if there are no
// members.
func (t *roll) common() uint32 {
	var least uint32
	for _, m := range t.members {
		if m.Reserved {
			continue // it is asked when it comes
		}
		if reads := max(m.Format, firstFormat); least == 0 || reads < least {
			least = reads
		}
	}
	return least
}

func readFormat(s scanner) (uint32, error) {
	format := uint32(firstFormat)
	err := s.Scan(tableMeta, metaFormat, func(_, value []byte) error {
		if len(value) != 4 {
			return fmt.Errorf("state: format of %d bytes", len(value))
		}
		format = binary.BigEndian.Uint32(value)
		return nil
	})
	return format, err
}

// Format returns the format that the cluster has agreed upon. Only commands
// that need no newer one may be proposed.
func (m *Machine) Format() uint32 { return m.roll.Load().format }

// Newest returns the newest format that this member reads.
func (m *Machine) Newest() uint32 { return m.newest }

// Common returns the newest format that all members read, zero while no member
// has a row.
func (m *Machine) Common() uint32 { return m.roll.Load().common() }

// Readable returns ErrFormat, and names both formats, if this member is too old
// for the state that it was opened on.
func (m *Machine) Readable() error {
	if format := m.Format(); format > m.newest {
		return fmt.Errorf("%w: %w", ErrFormat, m.tooOld(format))
	}
	return nil
}
