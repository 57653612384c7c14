// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	hraft "github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// hraft's names in the stable store.
var keyTerm = []byte("CurrentTerm")

// keyMember is ours: whose log lies beside. It is written once there is one,
// so that a new member that has heard of a term, and no more, is not taken for
// one that has lost its log.
var keyMember = []byte("Member")

func labelsPath(c *Config) string { return filepath.Join(c.Dir, labelsDir) }
func stablePath(c *Config) string { return filepath.Join(c.Dir, stableFile) }

// refuseMissing refuses a directory of which a part has gone. It looks before
// the stores are opened, because opening makes what is missing.
func refuseMissing(c *Config, held uint64) error {
	stable, log := exists(stablePath(c)), exists(logPath(c))
	switch {
	case log && !stable:
		return fmt.Errorf("raft: %s is missing beside the log %s: the member has lost its vote", stablePath(c), logPath(c))
	case !log && held > 0:
		return fmt.Errorf("raft: the log %s is missing, but the state has applied entry %d", logPath(c), held)
	}
	return nil
}

// stableStore is the store of the term and the vote.
type stableStore interface {
	hraft.StableStore
	io.Closer
}

func openStable(c *Config) (stableStore, error) {
	s, err := openBolt(stablePath(c))
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	if c.faults.stable != nil {
		return c.faults.stable(s), nil
	}
	return s, nil
}

// together is what the stores say about one another.
type together struct {
	term        uint64 // of the stable store
	member      uint64 // as it says; 0 if it has had no log
	first, last uint64 // of the log
	label       uint64 // index of the newest label
	held        uint64 // applied by the machine
	stable      string // the stable store's file
	installed   bool   // the log is to begin behind the label
}

// checkTogether reads every entry above the label, as hraft will, because
// hraft answers a damaged entry by panicking, and checks that log, vote, label
// and machine can come from one history.
func checkTogether(c *Config, d *disk, stable *votes, s *labels, held uint64) error {
	t := together{held: held, stable: stable.path, installed: s.installation.pending}
	var err error
	if t.term, err = currentTerm(stable); err != nil {
		return fmt.Errorf("raft: read %s: %w", stable.path, err)
	}
	if t.member, err = stored(stable, keyMember); err != nil {
		return fmt.Errorf("raft: read %s: %w", stable.path, err)
	}
	d.begun = t.member != 0 && !t.installed
	list, err := s.List()
	if err != nil {
		return fmt.Errorf("raft: %w", err)
	}
	if len(list) > 0 {
		t.label = list[0].Index
	}
	if t.first, err = d.FirstIndex(); err == nil {
		t.last, err = d.LastIndex()
	}
	if err != nil {
		return fmt.Errorf("raft: read log %s: %w", d.files.path, err)
	}
	if err := t.check(c, d.files); err != nil {
		return err
	}
	return scan(d, t)
}

// check compares the numbers. Each line is a way to lose data silently.
func (t *together) check(c *Config, log logFiles) error {
	fresh := !c.Bootstrap && t.member == 0 && t.label == 0 && t.held == 0
	switch {
	case t.member != 0 && t.member != c.Member:
		return fmt.Errorf("%w: %s is of member %s, not of %s", ErrMember, stablePath(c), serverID(t.member), serverID(c.Member))
	case t.held < t.label:
		return fmt.Errorf("raft: the state has applied entry %d, but the label in %s promises entry %d: the entries between them are lost",
			t.held, labelsPath(c), t.label)
	case t.held > max(t.last, t.label):
		return fmt.Errorf("raft: the state has applied entry %d, but the log %s ends at entry %d: new entries would be taken for applied ones",
			t.held, log.holding(t.last), t.last)
	case t.last > 0 && t.first > t.label+1:
		return fmt.Errorf("raft: the log %s begins at entry %d, but the label in %s ends at entry %d: the entries between them are lost",
			log.path, t.first, labelsPath(c), t.label)
	case t.last == 0 && (t.term > 1 || t.label > 0) && !fresh && !t.installed:
		return fmt.Errorf("raft: the log %s is empty, but this member has been in term %d and its state is at entry %d: the log is lost",
			log.path, t.term, t.held)
	}
	return nil
}

// scan checks each entry above the label, and learns the log's size.
func scan(d *disk, t together) error {
	for index := max(t.first, t.label+1); index <= t.last && t.last > 0; index++ {
		var l hraft.Log
		if err := d.GetLog(index, &l); err != nil {
			return fmt.Errorf("raft: %w", err)
		}
		if l.Term > t.term {
			return fmt.Errorf("raft: entry %d of the log %s is of term %d, but %s knows only term %d: it has lost writes",
				index, d.files.path, l.Term, t.stable, t.term)
		}
		d.sizes.add(index, int64(len(l.Data))+entryOverhead)
	}
	return nil
}

func currentTerm(stable hraft.StableStore) (uint64, error) {
	return stored(stable, keyTerm)
}

func stored(stable hraft.StableStore, key []byte) (uint64, error) {
	value, err := stable.GetUint64(key)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return 0, nil
	}
	return value, err
}

// bootstrap makes a cluster of this member alone, if there is nothing yet. A
// crash within it leaves term 1 and an empty log: hraft would take that for a
// member of a cluster and wait for a leader for ever.
func bootstrap(n *Node, h *hraft.Config, stable *votes, t hraft.Transport) error {
	term, err := currentTerm(stable)
	if err != nil {
		return fmt.Errorf("raft: bootstrap: %w", err)
	}
	last, err := n.disk.LastIndex()
	if err != nil {
		return fmt.Errorf("raft: bootstrap: %w", err)
	}
	if term > 1 || last > 0 || n.installation.pending {
		return nil
	}
	if err := stable.SetUint64(keyTerm, 0); err != nil {
		return fmt.Errorf("raft: bootstrap: %w", err)
	}
	address := t.LocalAddr()
	if n.config.Network != nil {
		address = hraft.ServerAddress(n.config.Address)
	}
	alone := hraft.Configuration{Servers: []hraft.Server{{ID: h.LocalID, Address: address}}}
	if err := hraft.BootstrapCluster(h, n.disk, stable, n.labels, t, alone); err != nil {
		return fmt.Errorf("raft: bootstrap: %w", err)
	}
	return nil
}
