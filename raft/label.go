// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"

	hraft "github.com/hashicorp/raft"
)

// keepAlone is what a member alone keeps of the log behind a label: hardly
// any, because raft-wal frees whole segments only.
const keepAlone = 1 << 20

// grown is told of each append to the log.
func (n *Node) grown() {
	if n.disk.sinceLabel() < n.config.SnapshotBytes {
		return
	}
	select {
	case n.crowded <- struct{}{}:
	default:
	}
}

// label moves the label, and cuts off the log's head, each time the log has
// grown by SnapshotBytes. hraft's own trigger counts entries and is off.
func (n *Node) label() {
	// Until hraft has applied something in this life it finds nothing to label.
	// A member that dies early each time would never cut its log.
	select {
	case <-n.progress.reached(n.applier.held.Load() + 1):
	case <-n.stopping:
		return
	}
	for {
		select {
		case <-n.crowded:
			n.moveLabel()
		case <-n.stopping:
			return
		}
	}
}

// moveLabel has hraft take a snapshot. What goes wrong with a disk ends the
// node where it happens; other errors, such as a change of members that is
// under way, are over by the next time.
//
// It stays while a member is sent a checkpoint, because the log behind that is
// needed, and while this member takes one.
func (n *Node) moveLabel() {
	select {
	case n.labeling <- struct{}{}:
		defer func() { <-n.labeling }()
	default:
		return
	}
	if n.sending.Load() > 0 {
		return
	}
	n.disk.mark()
	keep := n.config.TrailingBytes
	if n.alone() {
		keep = min(keep, keepAlone)
	}
	reload := n.raft.ReloadableConfig()
	reload.TrailingLogs = n.disk.trailing(keep)
	err := n.raft.ReloadConfig(reload)
	if err == nil {
		err = n.raft.Snapshot().Error()
	}
	switch {
	case err == nil:
		n.metrics.labels.Inc()
	case errors.Is(err, hraft.ErrRaftShutdown), n.failed() != nil:
	default:
		n.config.Logger.Warn("raft: label not moved", "err", err)
	}
}
