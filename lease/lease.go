// SPDX-License-Identifier: Apache-2.0

// Package lease keeps time-limited leases and the keys that die with them.
//
// It has two halves, because a replicated state may not read a clock. The
// [Table] is part of the state: every member changes it by the same commands
// in the same order, and it knows how long a lease is, never when it ends. The
// [Keeper] is the leader's monotonic clock: it decides when a lease has run
// out and asks for a command that revokes it.
//
// What holds: a lease never ends before its time. It may end late, by at most
// its own length for each change of leader or restart, since time that nobody
// measured does not count.
//
// The package knows neither the log nor the store. The state machine hands the
// batch that it is applying as [Writer]; the daemon gives the keeper functions
// that propose.
package lease

import "errors"

// MaxTTL is the longest lease in seconds, etcd's limit.
const MaxTTL = 9_000_000_000

// Reasons for which leases are refused.
var (
	ErrNotFound    = errors.New("lease: not found")
	ErrExists      = errors.New("lease: already exists")
	ErrTTLTooLarge = errors.New("lease: TTL too large")
	// ErrNotLeading says that this member does not measure time at present.
	// Another member may; the caller asks the leader.
	ErrNotLeading = errors.New("lease: this member does not lead")
	// ErrFormat says that a record was written by a newer version.
	ErrFormat = errors.New("lease: record of a newer format")
)

// Lease is one lease as the replicated state knows it, in seconds.
type Lease struct {
	ID  int64
	TTL int64
	// Remaining is the time that the lease gets when the next leader starts
	// its clock: what was left at the last checkpoint, or the whole TTL.
	Remaining int64
	// Granted is the index of the log entry that granted the lease, never zero.
	Granted uint64
}

// Ref names one grant of an ID, which may be granted again after a revocation.
//
// The entry's index is enough for that, although an entry may carry several
// commands, and so a grant, a revocation and a second grant of the same ID. A
// keeper refers to a lease when its time has passed, a second after the grant
// at the least; by then the whole entry was applied, and what the keeper means
// is the entry's last grant. Any later grant has a higher index.
type Ref struct {
	ID      int64
	Granted uint64
}

// Ref returns what names this grant of the lease.
func (l Lease) Ref() Ref { return Ref{l.ID, l.Granted} }

// Writer takes the changes that belong to the command being applied. It copies
// what it is given, or the caller keeps it unchanged.
type Writer interface {
	Set(key, value []byte)
	Delete(key []byte)
}

// Reader calls fn for each record whose key has the prefix, in key order, until
// fn returns an error, and returns that. Slices are valid during the call.
type Reader interface {
	Scan(prefix []byte, fn func(key, value []byte) error) error
}

// ReadWriter reads with the changes that were already written.
type ReadWriter interface {
	Reader
	Writer
}
