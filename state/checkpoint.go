// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cleatd/cleat/kv"
)

// A member that lacks more than the others' logs have gets all of the state.

// ErrForeign is returned for the state of another cluster.
var ErrForeign = errors.New("state: of another cluster")

// Checkpoint returns the state as it is after the entry at index, which is the
// newest that was passed to Apply, or one of raft's own behind it; that index
// is recorded as in Persist. The caller closes it.
func (m *Machine) Checkpoint(index uint64) (*kv.Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.recordLocked(index); err != nil {
		return nil, err
	}
	c, err := m.store.Checkpoint()
	if err != nil {
		return nil, err
	}
	if c.Index() != index {
		return nil, errors.Join(fmt.Errorf("state: at index %d, not at %d", c.Index(), index), c.Close())
	}
	return c, nil
}

// Prepared is a state that this one can become.
type Prepared struct {
	*kv.Prepared
	machine *Machine
}

// Prepare reads a checkpoint, beside what there is, as [kv.Store.Prepare] does
// and with its errors. ErrFormat also means that the cluster has a format which
// this member does not read, ErrForeign that it is another cluster's.
func (m *Machine) Prepare(from io.Reader) (*Prepared, error) {
	own, err := m.Cluster()
	if err != nil {
		return nil, err
	}
	p, err := m.store.Prepare(from, func(table byte, key, value []byte) error {
		switch {
		case table != tableMeta:
		case bytes.Equal(key, metaFormat) && len(value) == 4 && binary.BigEndian.Uint32(value) > m.newest:
			return fmt.Errorf("%w: %w", ErrFormat, m.tooOld(binary.BigEndian.Uint32(value)))
		case bytes.Equal(key, metaCluster) && len(value) == 8 && own != 0 && binary.BigEndian.Uint64(value) != own:
			return fmt.Errorf("%w: %016x, this member is of %016x", ErrForeign, binary.BigEndian.Uint64(value), own)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Prepared{Prepared: p, machine: m}, nil
}

// Install makes the state what was prepared, as [kv.Prepared.Install] does.
// What stands in memory follows. When the disk fails, Config.Fatal is told.
func (p *Prepared) Install() error {
	m := p.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	settle := m.unsettle()
	defer settle(nil)
	err := p.Prepared.Install()
	if errors.Is(err, kv.ErrOlder) {
		return err
	}
	m.tokens.Clear() // what ended some of them may be in what was skipped
	if err == nil {
		err = m.leases.Reload(LeaseReader(m.store))
	}
	if err == nil {
		err = m.reload()
	}
	if err == nil {
		err = m.reloadRules()
	}
	if err != nil {
		return m.failLocked(fmt.Errorf("install a checkpoint at entry %d: %w", p.Index(), err))
	}
	m.ledger.tellAll()
	return nil
}
