// SPDX-License-Identifier: Apache-2.0

// Package raft is where the members of a cluster agree on one order of
// commands. It knows bytes, not keys: a command goes in at [Node.Propose], is
// written to a majority's logs, is applied by the [Machine], and its result
// comes back to the caller.
//
// The invariant: a command whose result was returned is in the log and in the
// machine of every majority for ever, and no command is applied twice.
//
//	Propose → group → hraft → log (fsync) → commit → Machine.Apply → caller
//	                                  │
//	                                  └ enough bytes → Machine.Persist → label → the log's head is cut off
//
// At a member that does not lead, what waits goes to the leader in one call
// (relay.go), travels the same way there, and its results are given out once
// this member has applied it too. Reads at any member are linearizable: the
// leader makes sure that it leads still, and the reader waits for its own
// state (sync.go, confirm.go).
//
//	Propose → relay → Network.Call → the leader's Answer → group → …
//
// Members are added as learners, promoted, moved and removed through the
// leader (members.go). A member that moved says so itself and one that was
// removed while it was away is told (hello.go). Leadership can be handed over
// without a loss (transfer.go), which is how a leader stops.
//
// The machine keeps its state on disk, so a snapshot is only a label: an
// index, a term and the configuration, true once the machine has made that
// index durable. At start the label says where the log begins to matter, and
// entries that the machine holds already are not applied again.
//
// Agreement itself is hashicorp/raft, imported as hraft and by no other
// package; no exported signature shows one of its types. What lies around it
// here is what it leaves open: its messages to other members (transport.go), a
// failed write to the log ends the member
// (log.go), many commands share one entry (propose.go), reads are
// linearizable (sync.go), snapshots move by bytes (label.go), and damage and
// mix-ups are refused at start with the file's name (store.go, check.go).
package raft
