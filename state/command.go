// SPDX-License-Identifier: Apache-2.0

package state

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/lease"
)

// Identity is who asks. Root is the administrator on the Unix socket; Name is
// the common name of a client certificate, or the user that the socket's
// caller is known as, or the one that a token was made for. Revision is that of
// the rules (package auth) by which the name was believed; it is zero while
// rules do not count, and where nobody was named.
type Identity struct {
	Root     bool
	Name     string
	Revision uint64
}

// commandVersion is the first byte of every command: the format that it needs
// (format.go).
const commandVersion = 1

// kind says what a command does. The numbers are on disk: never reuse one.
type kind byte

const (
	kindForm kind = iota + 1
	kindPut
	kindDeleteRange
	kindTxn
	kindCompact
	kindLeaseGrant
	kindLeaseRevoke
	kindLeaseExpire
	kindLeaseCheckpoint
	kindLedgerCommit
	kindLedgerExpire
	kindMemberAdd
	kindMemberSet
	kindMemberPromote
	kindMemberRemove
	kindFormat
	kindAlarmOn
	kindAlarmOff
	kindMemberLeave
	kindMemberStay
	kindRecover
)

// Of users and roles (auth.go).
const (
	kindAuthEnable kind = iota + 40
	kindAuthDisable
	kindAuthenticate
	kindUserAdd
	kindUserDelete
	kindUserPassword
	kindUserGrant
	kindUserRevoke
	kindRoleAdd
	kindRoleDelete
	kindRoleGrant
	kindRoleRevoke
)

const (
	flagRoot     = 1
	flagRevision = 2 // of the rules; it follows the name
)

// ErrCommand is returned for bytes that are no command of this format.
var ErrCommand = errors.New("state: malformed command")

// appendPrefix starts a command: version, kind, flags, name, and the revision
// of the rules if there is one.
func appendPrefix(b []byte, k kind, id Identity) []byte {
	var flags byte
	if id.Root {
		flags |= flagRoot
	}
	if id.Revision != 0 {
		flags |= flagRevision
	}
	b = append(b, commandVersion, byte(k), flags)
	b = binary.AppendUvarint(b, uint64(len(id.Name)))
	b = append(b, id.Name...)
	if id.Revision != 0 {
		b = binary.AppendUvarint(b, id.Revision)
	}
	return b
}

// splitCommand undoes appendPrefix. The body shares the command's memory.
func splitCommand(c []byte) (k kind, id Identity, body []byte, err error) {
	if len(c) < 4 || c[0] == 0 {
		return 0, Identity{}, nil, fmt.Errorf("%w: %d bytes", ErrCommand, len(c))
	}
	n, size := binary.Uvarint(c[3:])
	if size <= 0 || n > uint64(len(c)-3-size) {
		return 0, Identity{}, nil, fmt.Errorf("%w: cut in the identity", ErrCommand)
	}
	rest := c[3+size:]
	id, rest = Identity{Root: c[2]&flagRoot != 0, Name: string(rest[:n])}, rest[n:]
	if c[2]&flagRevision == 0 {
		return kind(c[1]), id, rest, nil
	}
	if id.Revision, size = binary.Uvarint(rest); size <= 0 {
		return 0, Identity{}, nil, fmt.Errorf("%w: cut in the revision of the rules", ErrCommand)
	}
	return kind(c[1]), id, rest[size:], nil
}

func requestCommand(k kind, id Identity, m proto.Message) []byte {
	options := proto.MarshalOptions{}
	b := make([]byte, 0, 8+binary.MaxVarintLen64+len(id.Name)+options.Size(m))
	b, err := options.MarshalAppend(appendPrefix(b, k, id), m)
	if err != nil {
		// Only a string that is not UTF-8 fails to marshal, and no request
		// with one was decoded.
		panic(fmt.Sprintf("state: encode %T: %v", m, err))
	}
	return b
}

// PutCommand returns the command that stores a key.
func PutCommand(id Identity, r *pb.PutRequest) []byte { return requestCommand(kindPut, id, r) }

// DeleteRangeCommand returns the command that deletes a range.
func DeleteRangeCommand(id Identity, r *pb.DeleteRangeRequest) []byte {
	return requestCommand(kindDeleteRange, id, r)
}

// TxnCommand returns the command for a transaction that may write.
func TxnCommand(id Identity, r *pb.TxnRequest) []byte { return requestCommand(kindTxn, id, r) }

// CompactCommand returns the command that gives up history before a revision.
func CompactCommand(id Identity, r *pb.CompactionRequest) []byte {
	return requestCommand(kindCompact, id, r)
}

// LeaseGrantCommand returns the command that makes a lease. The caller has
// chosen a non-zero ID and raised the TTL to the minimum: Apply draws no
// random number and knows no setting.
func LeaseGrantCommand(id Identity, r *pb.LeaseGrantRequest) []byte {
	return requestCommand(kindLeaseGrant, id, r)
}

// LeaseRevokeCommand returns the command that ends a lease by request.
func LeaseRevokeCommand(id Identity, r *pb.LeaseRevokeRequest) []byte {
	return requestCommand(kindLeaseRevoke, id, r)
}

// ExpireCommand returns the command that ends leases whose time has passed.
// Each lease is one revision, as if revoked alone. Those that were revoked
// since are skipped, also if their IDs were granted again.
func ExpireCommand(refs []lease.Ref) []byte {
	b := appendPrefix(nil, kindLeaseExpire, Identity{Root: true})
	for _, r := range refs {
		b = binary.AppendUvarint(b, uint64(r.ID))
		b = binary.AppendUvarint(b, r.Granted)
	}
	return b
}

// CheckpointCommand returns the command that records how many seconds leases
// have left, so that a new leader need not give them their full time again. It
// skips the same leases as an expiry.
func CheckpointCommand(remaining map[lease.Ref]int64) []byte {
	refs := slices.SortedFunc(maps.Keys(remaining), func(a, b lease.Ref) int { return cmp.Compare(a.ID, b.ID) })
	b := appendPrefix(nil, kindLeaseCheckpoint, Identity{Root: true})
	for _, r := range refs {
		b = binary.AppendUvarint(b, uint64(r.ID))
		b = binary.AppendUvarint(b, r.Granted)
		b = binary.AppendUvarint(b, uint64(remaining[r]))
	}
	return b
}

// FormCommand returns the first command of a cluster: it names the cluster in
// the state, so that a state and a log of two clusters never run together.
func FormCommand(cluster uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPrefix(nil, kindForm, Identity{Root: true}), cluster)
}

// readUvarints decodes a body that is nothing but groups of numbers.
func readUvarints(body []byte, group int) ([]uint64, error) {
	var out []uint64
	for len(body) > 0 {
		v, n := binary.Uvarint(body)
		if n <= 0 {
			return nil, fmt.Errorf("%w: cut number", ErrCommand)
		}
		out, body = append(out, v), body[n:]
	}
	if len(out)%group != 0 {
		return nil, fmt.Errorf("%w: %d numbers, not in groups of %d", ErrCommand, len(out), group)
	}
	return out, nil
}
