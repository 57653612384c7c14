// SPDX-License-Identifier: Apache-2.0

package raft

import "io"

// Entry is one entry of the log. It may carry many commands: concurrent
// proposals are packed together.
type Entry struct {
	Index, Term uint64
	Commands    [][]byte
}

// Machine is the replicated state. It keeps itself on disk, without a log of
// its own: after a crash it is as it was after some applied entry, and the log
// brings the rest again.
//
// Apply is called one at a time; the others at any time.
type Machine interface {
	// Apply carries out committed entries in order and commits their effects
	// together with the newest index. It returns one result a command, in
	// order. It must be deterministic. It cannot fail for a command's fault;
	// when the disk fails it returns nil (or panics), nothing of these entries
	// is acknowledged, and the member stops.
	//
	// Indexes rise but have gaps, where raft's own entries are. Entries at or
	// below AppliedIndex are never passed again after a restart. The slices
	// are valid until Apply returns; the commands' bytes may be kept but not
	// changed.
	Apply(entries []Entry) (results [][]byte)

	// AppliedIndex is the index of the newest entry whose effects the machine
	// holds. After a crash it may be lower than it was, but never lower than an
	// index for which Persist returned nil.
	AppliedIndex() uint64

	// Persist records index as applied when it is above AppliedIndex (raft's
	// own entries never reach Apply), and returns when everything up to it is
	// durable. All commands up to index have been applied when it is called;
	// newer ones may be applied meanwhile.
	Persist(index uint64) error

	// Checkpoint returns the state as it is after the entry at index, for a
	// machine that is to become the same. Nothing newer has been applied, and
	// nothing is until it returns. It records index as Persist does.
	Checkpoint(index uint64) (Checkpoint, error)

	// Prepare reads what a Checkpoint wrote. Nothing changes yet; entries are
	// applied meanwhile. An error says that it is damaged, older than the
	// machine or not for it, or that there is no room.
	Prepare(from io.Reader) (Prepared, error)
}
