// SPDX-License-Identifier: Apache-2.0

package file

import (
	"encoding/binary"
	"fmt"
)

// The buckets of etcd's database.
const (
	Key            = "key"     // revision -> mvccpb.KeyValue
	Meta           = "meta"    // what is below
	Lease          = "lease"   // id -> leasepb.Lease
	Alarm          = "alarm"   // etcdserverpb.AlarmMember -> nothing
	Cluster        = "cluster" // version, downgrade
	Members        = "members" // id -> JSON
	MembersRemoved = "members_removed"
	Auth           = "auth"      // whether it is on, its revision
	AuthUsers      = "authUsers" // name -> authpb.User
	AuthRoles      = "authRoles" // name -> authpb.Role
)

// Ledger is the one bucket that etcd does not have and takes no notice of: the
// ledger's items as the state keeps them.
const Ledger = "cleat_ledger"

// Keys of the bucket Meta.
const (
	ConsistentIndex     = "consistent_index" // of the log, 8 bytes
	Term                = "term"             // 8 bytes; since 3.5
	ConfState           = "confState"        // JSON; since 3.5
	ScheduledCompaction = "scheduledCompactRev"
	FinishedCompaction  = "finishedCompactRev"
	StorageVersion      = "storageVersion" // since 3.6
)

// Keys of the bucket Auth.
const (
	AuthEnabled  = "authEnabled"  // one byte, 1 if it is on
	AuthRevision = "authRevision" // 8 bytes
)

const (
	revisionSize = 8 + 1 + 8
	tombstone    = 't'
)

// AppendRevision appends the key under which etcd keeps a change.
func AppendRevision(b []byte, main, sub int64, deleted bool) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(main))
	b = append(b, '_')
	b = binary.BigEndian.AppendUint64(b, uint64(sub))
	if deleted {
		b = append(b, tombstone)
	}
	return b
}

// ParseRevision undoes AppendRevision; else the error is ErrDamaged.
func ParseRevision(key []byte) (main, sub int64, deleted bool, err error) {
	marked := len(key) == revisionSize+1 && key[revisionSize] == tombstone
	if !marked && len(key) != revisionSize || key[8] != '_' {
		return 0, 0, false, fmt.Errorf("%w: revision %x", ErrDamaged, key)
	}
	main, sub = int64(binary.BigEndian.Uint64(key)), int64(binary.BigEndian.Uint64(key[9:]))
	if main < 0 || sub < 0 {
		return 0, 0, false, fmt.Errorf("%w: revision %x", ErrDamaged, key)
	}
	return main, sub, marked, nil
}
