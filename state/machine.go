// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/lease"
)

// The side tables that live beside the keys, one letter each. The letters are
// on disk.
const (
	tableMeta    = 'M' // what the state knows of itself: the cluster's id
	tableLease   = 'l' // leases and what is attached to them
	tableLedger  = 'c' // buckets of key and value with an expiry, for the CA
	tableExpiry  = 'x' // the ledger's items by their expiry
	tableMember  = 'p' // the members (members.go)
	tableRemoved = 'q' // the ids of those who were removed
	tableAlarm   = 'a' // alarms (alarm.go)
	tableAuth    = 'u' // users, roles, and whether they count (package auth)
)

var metaCluster = []byte("cluster")

// Config is what a [Machine] is made of.
type Config struct {
	Store  *kv.Store
	Leases *lease.Table
	Logger *slog.Logger

	// Tokens are told who has logged in; nil: some of the machine's own.
	Tokens *auth.Tokens

	// Newest is the newest format that this member is to read; zero: Format.
	Newest uint32

	// Fatal is told once, when the machine cannot apply an agreed command.
	// It may return: from then on Apply answers nothing.
	Fatal func(error)
}

// Machine applies agreed commands to the store. It implements raft.Machine.
type Machine struct {
	store  *kv.Store
	leases *lease.Table
	tokens *auth.Tokens
	log    *slog.Logger
	fatal  func(error)
	newest uint32 // format that this member reads

	// mu admits one writer at a time: Apply, or Persist's own small commit.
	mu     sync.Mutex
	failed error // set once, by fail

	roll  atomic.Pointer[roll]  // written under mu; never nil after New
	rules atomic.Pointer[rules] // written under mu; never nil after New

	ledger changes // who waits for its buckets

	// physical holds the background deletions that have not ended, by
	// compact revision; guarded by physicalMu because readers ask too.
	physicalMu sync.Mutex
	physical   map[int64]<-chan struct{}
}

// LeaseReader returns the store's lease table as [lease.Load] wants it.
func LeaseReader(s *kv.Store) lease.Reader { return leaseReader{s} }

type leaseReader struct{ from scanner }

func (r leaseReader) Scan(prefix []byte, fn func(key, value []byte) error) error {
	return r.from.Scan(tableLease, prefix, fn)
}

// New returns a machine over an open store and the leases loaded from it.
func New(c Config) *Machine {
	m := &Machine{
		store:    c.Store,
		leases:   c.Leases,
		tokens:   c.Tokens,
		log:      c.Logger,
		fatal:    c.Fatal,
		newest:   c.Newest,
		physical: make(map[int64]<-chan struct{}),
	}
	if m.newest == 0 {
		m.newest = Format
	}
	if m.tokens == nil {
		m.tokens = auth.NewTokens(tokenTTL)
	}
	m.roll.Store(&roll{format: firstFormat, changed: make(chan struct{})})
	m.rules.Store(&rules{Rules: auth.NewRules()})
	err := m.reload()
	if err == nil {
		err = m.reloadRules()
	}
	if err != nil {
		_ = m.failLocked(err) // told to Fatal; nobody else has the machine yet
	}
	return m
}

// Store returns the keys and values, for readers.
func (m *Machine) Store() *kv.Store { return m.store }

// Leases returns the lease table, for readers.
func (m *Machine) Leases() *lease.Table { return m.leases }

// Tokens returns the tokens of who has logged in.
func (m *Machine) Tokens() *auth.Tokens { return m.tokens }

// Cluster returns the id of the cluster that this state belongs to, zero
// before the cluster was formed.
func (m *Machine) Cluster() (uint64, error) {
	v, err := m.store.Get(tableMeta, metaCluster)
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("state: cluster id of %d bytes", len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// AppliedIndex returns the index of the newest entry in the state.
func (m *Machine) AppliedIndex() uint64 { return m.store.AppliedIndex() }

// Persist returns when everything up to index is durable. Barriers and
// configuration entries move the log's index without ever reaching Apply, so
// index may be higher than the newest applied command; it is then recorded.
func (m *Machine) Persist(index uint64) error {
	if err := m.record(index); err != nil {
		return err
	}
	if err := m.store.Flush(); err != nil {
		return fmt.Errorf("flush the state at index %d: %w", index, err)
	}
	if durable := m.store.DurableIndex(); durable < index {
		return fmt.Errorf("state: durable at index %d after a flush, want %d", durable, index)
	}
	return nil
}

func (m *Machine) record(index uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.recordLocked(index)
}

func (m *Machine) recordLocked(index uint64) error {
	if m.failed != nil {
		return m.failed
	}
	if index <= m.store.AppliedIndex() {
		return nil
	}
	b := m.store.NewBatch()
	defer b.Close()
	if err := b.Commit(index); err != nil {
		return m.failLocked(fmt.Errorf("record index %d: %w", index, err))
	}
	return nil
}

// failLocked makes the machine useless, once.
func (m *Machine) failLocked(err error) error {
	if m.failed == nil {
		m.failed = err
		m.fatal(err)
	}
	return m.failed
}

// Compacted returns a channel that is closed when the keys of the compaction
// at revision have left the disk; it is closed already when that is done.
func (m *Machine) Compacted(revision int64) <-chan struct{} {
	m.physicalMu.Lock()
	defer m.physicalMu.Unlock()
	if done, running := m.physical[revision]; running {
		return done
	}
	done := make(chan struct{})
	close(done)
	return done
}

func (m *Machine) trackPhysical(revision int64, done <-chan struct{}) {
	m.physicalMu.Lock()
	defer m.physicalMu.Unlock()
	for rev, earlier := range m.physical {
		select {
		case <-earlier:
			delete(m.physical, rev)
		default:
		}
	}
	m.physical[revision] = done
}
