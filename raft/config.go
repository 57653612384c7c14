// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	hraft "github.com/hashicorp/raft"
)

// Kinds of logs, for Config.Log.
const (
	logWAL    = "wal"
	logBoltDB = "boltdb"
)

const (
	defaultElectionTimeout = 500 * time.Millisecond
	defaultSnapshotBytes   = 32 << 20
	defaultTrailingBytes   = 256 << 20

	// maxGroupBytes closes a group of commands, maxCommandBytes is the largest
	// single command. hraft counts entries where followers care for bytes:
	// maxAppendEntries full groups stay under 64 MiB, and one entry stays under
	// the 64 MiB that raft-wal takes as a record.
	maxGroupBytes    = 1 << 20
	maxCommandBytes  = 32 << 20
	maxAppendEntries = 48

	// commitTimeout is how often hraft tells followers what is committed when
	// nothing follows. They know already (tell.go), but for a message that was
	// lost; each time costs every member some 0.1 ms.
	commitTimeout = 50 * time.Millisecond
)

// Config is what a [Node] is made of.
type Config struct {
	Dir    string // for raft alone; made if missing
	Member uint64 // this member's id, never zero
	Log    string // "wal" (also when empty) or "boltdb"

	// Bootstrap makes a cluster of this member alone if Dir holds nothing yet.
	Bootstrap bool

	// Network leads to the other members. Nil is a member alone for ever; with
	// a network a member may still be alone, until another is added.
	Network Network
	// Address is where the other members reach this one. Needed with a
	// Network. When it differs from what the cluster knows, it is announced.
	Address string

	// Asked answers what other members, and this one, pass to Ask. The network
	// has authenticated from; it may be a member that is no longer in the
	// configuration here, or not yet. Asked may be called concurrently.
	Asked func(ctx context.Context, from uint64, request []byte) ([]byte, error)
	// Removed is told once, on a goroutine of its own, that this member is no
	// part of the cluster any more. It must return before Shutdown can.
	Removed func()

	// ElectionTimeout is how long a silent leader is trusted at least; 500 ms if
	// zero. The first who trusts it no longer is elected if the others have not
	// heard of it for as long, too.
	ElectionTimeout time.Duration
	// SnapshotBytes is how much log is written before the state is made
	// durable and the log's head is cut off; 32 MiB if zero. It bounds what is
	// read again at start.
	SnapshotBytes int64
	// TrailingBytes is how much log stays behind that, for members that are a
	// little behind; 256 MiB if zero. Who lacks more gets a checkpoint.
	TrailingBytes int64

	Logger     *slog.Logger          // required
	Registerer prometheus.Registerer // nil: no metrics

	// Fatal is told once, on a goroutine of its own, why this member can go on
	// no longer: a write of the log, the vote or a label failed, or the machine
	// did. From then on nothing is acknowledged. It may call Shutdown.
	Fatal func(error)

	faults faults
}

// faults stand between the node and its disk in tests. The zero value is none.
type faults struct {
	log     func(logStore) logStore
	stable  func(stableStore) stableStore
	put     func(path string, data []byte) error // in place of writeDurably
	remove  func(path string) error              // in place of removeDurably
	rename  func(from, to string) error          // in place of renameDurably
	segment int                                  // bytes of a segment of the log, in place of raft-wal's own number
	alone   func() bool                          // in place of soleVoter
	commit  time.Duration                        // in place of commitTimeout
	trust   time.Duration                        // in place of ElectionTimeout, for who votes
}

func (c *Config) complete() error {
	if c.Log == "" {
		c.Log = logWAL
	}
	if c.ElectionTimeout == 0 {
		c.ElectionTimeout = defaultElectionTimeout
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = defaultSnapshotBytes
	}
	if c.TrailingBytes == 0 {
		c.TrailingBytes = defaultTrailingBytes
	}
	if c.Fatal == nil {
		c.Fatal = func(error) {}
	}
	if c.Removed == nil {
		c.Removed = func() {}
	}
	switch {
	case c.Dir == "":
		return fmt.Errorf("raft: Config.Dir is empty")
	case c.Member == 0:
		return fmt.Errorf("raft: Config.Member is zero")
	case c.Log != logWAL && c.Log != logBoltDB:
		return fmt.Errorf("raft: Config.Log is %q, want %q or %q", c.Log, logWAL, logBoltDB)
	case c.ElectionTimeout < 10*time.Millisecond:
		return fmt.Errorf("raft: Config.ElectionTimeout is %s, want at least 10ms", c.ElectionTimeout)
	case c.SnapshotBytes < 0:
		return fmt.Errorf("raft: Config.SnapshotBytes is %d, want at least 0", c.SnapshotBytes)
	case c.TrailingBytes < 0:
		return fmt.Errorf("raft: Config.TrailingBytes is %d, want at least 0", c.TrailingBytes)
	case c.Network != nil && c.Address == "":
		return fmt.Errorf("raft: Config.Address is empty")
	case c.Logger == nil:
		return fmt.Errorf("raft: Config.Logger is nil")
	}
	return nil
}

// hraftConfig is the configuration while nothing has elected a leader yet: the
// timeouts are a hair longer than they will be, because hraft holds an
// election at once when they are shortened (see Node.elect).
func (c *Config) hraftConfig() *hraft.Config {
	h := hraft.DefaultConfig()
	h.LocalID = serverID(c.Member)
	h.HeartbeatTimeout = c.ElectionTimeout + time.Millisecond
	h.ElectionTimeout = c.ElectionTimeout + time.Millisecond
	h.LeaderLeaseTimeout = c.ElectionTimeout
	h.CommitTimeout = cmp.Or(c.faults.commit, commitTimeout)
	h.MaxAppendEntries = maxAppendEntries
	h.ShutdownOnRemove = false
	h.NoLegacyTelemetry = true
	// Labels move by bytes, not by entries: hraft's own trigger is off.
	h.SnapshotThreshold = math.MaxUint64
	h.SnapshotInterval = 100 * 365 * 24 * time.Hour
	h.Logger = hclogTo(c.Logger)
	return h
}

// serverID is how hraft knows a member, and in one process its address too.
func serverID(member uint64) hraft.ServerID {
	return hraft.ServerID(fmt.Sprintf("%016x", member))
}
