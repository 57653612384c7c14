// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
)

// loadIndex stands for the log entry in which leases that are loaded were
// granted: the first one, which raft.Recover makes next.
const loadIndex = 1

// attachAtOnce is how many bytes of keys are attached in one commit.
const attachAtOnce = 1 << 20

// LoadLeases gives a state that has nothing but keys its leases, and attaches
// the keys that name one; a key may name a lease that is no more, as in etcd.
// Nothing was applied before, and the machine belongs to the caller alone.
func (m *Machine) LoadLeases(leases []lease.Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	if m.store.AppliedIndex() != 0 || m.leases.Len() != 0 {
		return errors.New("state: leases are loaded into a state that has been used")
	}
	err := m.loadLocked(func(b *kv.Batch) error {
		w := leaseTable{b}
		for _, l := range leases {
			if err := m.leases.Grant(w, l.ID, l.TTL, loadIndex); err != nil {
				return fmt.Errorf("lease %016x: %w", l.ID, err)
			}
			if l.Remaining >= l.TTL {
				continue
			}
			if err := m.leases.Checkpoint(w, lease.Ref{ID: l.ID, Granted: loadIndex}, l.Remaining); err != nil {
				return fmt.Errorf("lease %016x: %w", l.ID, err)
			}
		}
		return nil
	})
	if err != nil || len(leases) == 0 {
		return err
	}
	type attachment struct {
		lease int64
		key   []byte
	}
	var held []attachment // without the values, which may be megabytes each
	size := 0
	attach := func(b *kv.Batch) error {
		for _, a := range held {
			if err := m.leases.Attach(leaseTable{b}, a.lease, a.key); err != nil && !errors.Is(err, lease.ErrNotFound) {
				return err
			}
		}
		return nil
	}
	err = m.store.Stream(kv.Range{Key: []byte{0}, End: []byte{0}}, kv.ReadOptions{}, func(r kv.Result) error {
		for _, record := range r.Records {
			if id := record.Lease(); id != 0 {
				held = append(held, attachment{id, bytes.Clone(record.Key())})
				size += len(record.Key())
			}
		}
		if size < attachAtOnce {
			return nil
		}
		defer func() { held, size = held[:0], 0 }()
		return m.loadLocked(attach)
	})
	if err != nil {
		return err
	}
	return m.loadLocked(attach)
}

// LoadRules gives a state that never had a user its users and roles. Nothing
// was applied before, and the machine belongs to the caller alone.
func (m *Machine) LoadRules(c auth.Content) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return m.failed
	}
	if has := m.Rules().Content(); m.store.AppliedIndex() != 0 || len(has.Users)+len(has.Roles) > 0 {
		return errors.New("state: users and roles are loaded into a state that has been used")
	}
	err := m.loadLocked(func(b *kv.Batch) error {
		c.Write(authTable{b})
		return nil
	})
	if err != nil {
		return err
	}
	return m.reloadRules()
}

// loadLocked commits what fill writes.
func (m *Machine) loadLocked(fill func(*kv.Batch) error) error {
	b := m.store.NewBatch()
	defer b.Close()
	if err := fill(b); err != nil {
		return err
	}
	return b.Commit(0)
}
