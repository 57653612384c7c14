// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"context"
	"time"
)

// Ledger is what the CA must remember as a cluster. The buckets of this package
// are its own; nobody else writes to them.
type Ledger interface {
	// Get returns the value as it is when the call is made, or nil if there is
	// none. It is linearizable.
	Get(ctx context.Context, bucket string, key []byte) ([]byte, error)
	// List returns the items of a bucket whose keys have the prefix.
	List(ctx context.Context, bucket string, prefix []byte) ([]Item, error)
	// Commit applies all ops at once and returns true, or none and false when a
	// condition does not hold. After an error it may or may not have happened.
	Commit(ctx context.Context, ops []Op) (bool, error)
}

// Replica is the ledger as this member has it, which may be older than the
// cluster's: it is there at once, and without the others. A reader takes the
// channel of Changed before it reads.
type Replica interface {
	// Get returns the value, or nil if there is none.
	Get(bucket string, key []byte) ([]byte, error)
	// List returns the items of a bucket whose keys have the prefix.
	List(bucket string, prefix []byte) ([]Item, error)
	// Changed returns a channel that is closed when the bucket has changed, or may
	// have.
	Changed(bucket string) <-chan struct{}
}

// Item is one entry of a bucket.
type Item struct {
	Key, Value []byte
}

// Op is one change of a commit.
type Op struct {
	Bucket  string
	Key     []byte
	Value   []byte    // nil deletes
	Expires time.Time // zero: never; afterwards the item may be collected
	If      Condition
	Old     []byte // what Equals compares with
}

// Condition is what must hold for a commit to happen.
type Condition int

// The conditions of an [Op].
const (
	Always Condition = iota
	Absent           // the key has no value
	Equals           // the key's value is Op.Old
)
