// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"

	hraft "github.com/hashicorp/raft"
)

// What stays of the log behind a label, for members that are a little behind.
// A member alone keeps hardly any: raft-wal frees whole segments only.
const (
	keepForOthers = 256 << 20
	keepAlone     = 1 << 20
)

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
	case <-n.progress.reached(n.applier.held + 1):
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
func (n *Node) moveLabel() {
	n.disk.mark()
	keep := int64(keepForOthers)
	if n.alone() {
		keep = keepAlone
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
