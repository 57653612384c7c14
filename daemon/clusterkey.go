// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/peer"
	"github.com/cleatd/cleat/pki"
)

// keyLimit is how long one member may take to give a cluster key.
const keyLimit = 5 * time.Second

// memberIDs are those of the members in the agreement.
func (d *Daemon) memberIDs() []uint64 {
	var ids []uint64
	for _, m := range d.node.Members() {
		ids = append(ids, m.ID)
	}
	return ids
}

// fetchKey asks the other members, one after the other, for a cluster key.
func (d *Daemon) fetchKey(ctx context.Context, r pki.KeyRequest) ([]byte, error) {
	if d.peers == nil {
		return nil, errors.New("this member has no peer door, and so nobody to ask")
	}
	var refused []error
	for _, m := range d.node.Members() {
		if m.ID == d.dir.memberID() {
			continue
		}
		reply := new(admin.ClusterKeyResponse)
		asking, cancel := context.WithTimeout(ctx, keyLimit)
		err := d.peers.Invoke(asking, m.ID, m.Address, admin.Peer_ClusterKey_FullMethodName, &admin.ClusterKeyRequest{Want: r.Want, Have: r.Have}, reply)
		cancel()
		if err == nil {
			return reply.Sealed, nil
		}
		refused = append(refused, fmt.Errorf("member %s: %s", hexID(m.ID), status.Convert(err).Message()))
	}
	if len(refused) == 0 {
		return nil, errors.New("there is no other member")
	}
	return nil, errors.Join(refused...)
}

// ClusterKey gives a key to a member that is in the list now, as this member
// knows it once it is up to date.
func (d arrivals) ClusterKey(ctx context.Context, r *admin.ClusterKeyRequest) (*admin.ClusterKeyResponse, error) {
	id, err := peer.MemberOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.node.Sync(ctx); err != nil {
		return nil, status.Errorf(codes.Unavailable, "whether member %s may have the cluster key is not known now: %v", hexID(id), err)
	}
	if _, listed := memberAt(d.node.Members(), id); !listed || d.machine.Removed(id) {
		d.log.Warn("the cluster key was asked for by who is not in the list of members", "member", hexID(id))
		return nil, status.Errorf(codes.PermissionDenied, "member %s is not in the list of members", hexID(id))
	}
	sealed, err := d.pki.GiveKey(ctx, id, pki.KeyRequest{Want: r.Want, Have: r.Have})
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &admin.ClusterKeyResponse{Sealed: sealed}, nil
}
