// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"fmt"

	hraft "github.com/hashicorp/raft"
)

// Recovery is what [Recover] found and did.
type Recovery struct {
	Applied uint64   // the newest entry that the machine had applied
	Last    uint64   // the newest entry of the log, applied now, whether it was agreed upon or not
	Index   uint64   // of the command with which the new history begins
	Others  []Member // who were part of the cluster, as this member knew it
}

// Recover makes a stopped member the only one of its cluster: the majority is
// lost for good. All of its log is applied, because what the others had
// acknowledged may not be known to be committed here; what had not reached its
// log is lost. Then command is applied, which makes the machine that of another
// cluster: the others, if they come back, must not take part. The log is empty
// afterwards, so that whoever joins begins with the state.
//
// It may end anywhere: either nothing has happened, or the next Open finds it
// done. Of the configuration, Dir, Member, Log, Address and Logger count.
func Recover(c Config, machine Machine, command []byte) (r Recovery, err error) {
	c.Bootstrap, c.Network, c.Registerer = false, nil, nil
	if err := c.complete(); err != nil {
		return r, err
	}
	n := newNode(c, machine)
	defer func() { err = errors.Join(err, n.closeFiles()) }()
	stable, err := n.openFiles()
	if err != nil {
		return r, err
	}
	term, err := currentTerm(stable)
	if err != nil {
		return r, fmt.Errorf("raft: %w", err)
	}
	r.Applied = machine.AppliedIndex()
	servers, err := n.replay(&r)
	if err != nil {
		return r, err
	}
	self := hraft.Server{ID: n.id, Address: hraft.ServerAddress(n.id)}
	if c.Address != "" {
		self.Address = hraft.ServerAddress(c.Address)
	}
	for _, s := range servers {
		if s.ID != n.id {
			r.Others = append(r.Others, memberFrom(s))
		}
	}
	r.Index = r.Last + 1
	label := newLabel(r.Index, max(term, 1), hraft.Configuration{Servers: []hraft.Server{self}}, r.Index)
	if err := n.installation.put(n.installation.intent, encodeLabel(label)); err != nil {
		return r, fmt.Errorf("raft: write %s: %w", n.installation.intent, err)
	}
	if err := n.applyOne(Entry{Index: r.Index, Term: label.Term, Commands: [][]byte{command}}); err != nil {
		return r, err
	}
	if err := machine.Persist(r.Index); err != nil {
		return r, fmt.Errorf("raft: make the state durable: %w", err)
	}
	if err := n.installation.settle(n.disk, n.labels, machine.AppliedIndex()); err != nil {
		return r, fmt.Errorf("raft: %w", err)
	}
	return r, nil
}

// replay applies what the machine lacks of the log, and returns the newest
// configuration there.
func (n *Node) replay(r *Recovery) ([]hraft.Server, error) {
	var servers []hraft.Server
	labels, err := n.labels.List()
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	for _, m := range labels {
		r.Last, servers = m.Index, m.Configuration.Servers
	}
	last, err := n.disk.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	for index := r.Last + 1; index <= last; index++ {
		var l hraft.Log
		if err := n.disk.GetLog(index, &l); err != nil {
			return nil, fmt.Errorf("raft: %w", err)
		}
		r.Last = index
		if l.Type == hraft.LogConfiguration {
			servers = hraft.DecodeConfiguration(l.Data).Servers
		}
		if l.Type != hraft.LogCommand || index <= r.Applied {
			continue
		}
		commands, err := appendGroup(nil, l.Data)
		if err != nil {
			return nil, fmt.Errorf("raft: apply entry %d: %w", index, err)
		}
		if len(commands) == 0 {
			continue
		}
		if err := n.applyOne(Entry{Index: index, Term: l.Term, Commands: commands}); err != nil {
			return nil, err
		}
	}
	return servers, nil
}

func (n *Node) applyOne(e Entry) error {
	if results := n.machine.Apply([]Entry{e}); len(results) != len(e.Commands) {
		return fmt.Errorf("raft: apply entry %d: the machine answered %d of %d commands", e.Index, len(results), len(e.Commands))
	}
	return nil
}
