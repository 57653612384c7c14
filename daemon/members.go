// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/api"
	"github.com/cleatd/cleat/raft"
	"github.com/cleatd/cleat/state"
)

// members are the cluster as etcd's Cluster service sees it: names and
// addresses from the state, votes from raft.
//
// To add a member only announces it: raft's configuration changes when it comes
// with its token. Otherwise a cluster of two that adds a third which never comes
// would stand still at the next failure.
type members struct{ *Daemon }

var _ api.Members = members{}

// List shows rows as this member has them.
func (m members) List() []*pb.Member {
	learns := map[uint64]bool{}
	for _, s := range m.node.Members() {
		learns[s.ID] = s.Learner
	}
	var list []*pb.Member
	for _, row := range m.machine.Members() {
		learner, known := learns[row.ID]
		list = append(list, &pb.Member{
			ID: row.ID, Name: row.Name, PeerURLs: row.PeerURLs, ClientURLs: row.ClientURLs,
			IsLearner: learner || !known && (row.Learner || !row.Reserved),
		})
	}
	return list
}

// Add announces a member.
func (m members) Add(ctx context.Context, peerURLs []string, learner bool) (*pb.Member, error) {
	if _, err := hostOf(peerURLs); err != nil {
		return nil, err
	}
	if err := m.node.Sync(ctx); err != nil {
		return nil, err
	}
	row := state.Member{ID: newID(), PeerURLs: peerURLs, Learner: learner, Reserved: true}
	if err := m.propose(ctx, state.MemberAddCommand(selfIdentity, row)); err != nil {
		return nil, err
	}
	return &pb.Member{ID: row.ID, PeerURLs: peerURLs, IsLearner: learner}, nil
}

// propose carries out a change of the rows and words what stands against it as
// etcd does.
func (m members) propose(ctx context.Context, command []byte) error {
	_, err := committed(m.node.Propose(ctx, command))
	switch {
	case errors.Is(err, state.ErrPeerURL):
		return rpctypes.ErrGRPCPeerURLExist
	case errors.Is(err, state.ErrMemberExists):
		return rpctypes.ErrGRPCMemberExist
	case errors.Is(err, state.ErrTooManyLearners):
		return rpctypes.ErrGRPCTooManyLearners
	case errors.Is(err, state.ErrMemberNotFound), errors.Is(err, state.ErrMemberRemoved):
		return rpctypes.ErrGRPCMemberNotFound
	}
	return err
}

// errOnlyVoter has the code that etcd sends with this text, which is not the
// one that its clients make of it.
var errOnlyVoter = status.Error(codes.Unknown, rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberNotEnoughStarted))

// Remove takes a member out for good. The leader does it: a member that is
// removed is heard no more, and so could not finish.
func (m members) Remove(ctx context.Context, id uint64) error {
	m.removing.RLock()
	defer m.removing.RUnlock()
	if err := m.node.Sync(ctx); err != nil {
		return err
	}
	_, known := m.machine.Member(id)
	servers := m.node.Members()
	at, listed := memberAt(servers, id)
	switch {
	case !known && !listed:
		return rpctypes.ErrGRPCMemberNotFound
	case !listed: // it has not come yet
		return m.propose(ctx, state.MemberRemoveCommand(selfIdentity, id))
	case len(servers) == 1:
		return errOnlyVoter
	}
	if id == m.node.Status().Leader {
		err := m.node.Transfer(ctx, 0)
		if errors.Is(err, raft.ErrMember) || errors.Is(err, raft.ErrNotReady) {
			return rpctypes.ErrGRPCUnhealthy // nobody could lead in its place
		}
		if err != nil {
			return err
		}
	}
	answer, err := m.node.Ask(ctx, 0, append(binary.BigEndian.AppendUint64([]byte{askRemove}, id), at.Address...))
	if id == m.dir.memberID() && m.dismissed.Load() {
		return nil // and the answer could not reach it any more
	}
	if err != nil {
		return err
	}
	return removal(answer)
}

func memberAt(servers []raft.Member, id uint64) (raft.Member, bool) {
	for _, s := range servers {
		if s.ID == id {
			return s, true
		}
	}
	return raft.Member{}, false
}

// The outcomes of a removal, as the leader answers them.
const (
	removalDone byte = iota
	removalLastQuorum
)

func removal(answer []byte) error {
	switch {
	case len(answer) == 1 && answer[0] == removalDone:
		return nil
	case len(answer) == 1 && answer[0] == removalLastQuorum:
		return rpctypes.ErrGRPCUnhealthy
	}
	return fmt.Errorf("daemon: malformed answer of %d bytes to a removal", len(answer))
}

// answerRemove removes a member as the leader, and tells it. Its row notes that
// first: should this leader end between raft's change and the row's, the next
// goes on from there.
func (d *Daemon) answerRemove(ctx context.Context, question []byte) ([]byte, error) {
	if len(question) < 8 {
		return nil, fmt.Errorf("daemon: removal of %d bytes", len(question))
	}
	id, address := binary.BigEndian.Uint64(question), string(question[8:])
	d.removals.Lock()
	defer d.removals.Unlock()
	if err := d.leaving(ctx, id, true); err != nil {
		return nil, err
	}
	err := d.node.Remove(ctx, id)
	if errors.Is(err, raft.ErrLastQuorum) {
		return []byte{removalLastQuorum}, d.leaving(ctx, id, false)
	}
	if err != nil && !errors.Is(err, raft.ErrMember) { // else it is gone already
		return nil, err
	}
	// It is told while its certificate still counts. One that does not hear it
	// learns it when it comes back.
	farewell, cancel := context.WithTimeout(ctx, d.config().ElectionTimeout)
	err = d.peers.Invoke(farewell, id, address, admin.Peer_Dismiss_FullMethodName, &admin.DismissRequest{}, new(admin.DismissResponse))
	cancel()
	if err != nil {
		d.log.Info("the removed member does not hear of it", "member", hexID(id), "cause", err)
	}
	if _, err := committed(d.node.Propose(ctx, state.MemberRemoveCommand(selfIdentity, id))); err != nil {
		return nil, err
	}
	if err := d.pki.RevokeMember(ctx, id); err != nil {
		d.log.Warn("the certificates of the removed member are not on the revocation list yet; the next leader puts them there", "member", hexID(id), "cause", err)
	}
	return []byte{removalDone}, nil
}

// leaving notes that a member's removal has begun, or was given up. One without
// a row, or removed already, needs no note.
func (d *Daemon) leaving(ctx context.Context, id uint64, leaving bool) error {
	_, err := committed(d.node.Propose(ctx, state.MemberLeaveCommand(selfIdentity, id, leaving)))
	if errors.Is(err, state.ErrMemberNotFound) || errors.Is(err, state.ErrMemberRemoved) {
		return nil
	}
	return err
}

// finishRemovals removes the rows of members that another leader has taken out
// of raft's configuration, and no more.
func (d *Daemon) finishRemovals(ctx context.Context) {
	if !d.removals.TryLock() {
		return // this leader is about it
	}
	defer d.removals.Unlock()
	servers := d.node.Members()
	for _, row := range d.machine.Members() {
		if _, listed := memberAt(servers, row.ID); listed || !row.Leaving {
			continue
		}
		if _, err := committed(d.node.Propose(ctx, state.MemberRemoveCommand(selfIdentity, row.ID))); err != nil && ctx.Err() == nil {
			d.log.Warn("a member that was removed is listed still; trying again", "member", hexID(row.ID), "cause", err)
		}
	}
}

// Update changes where a member is reached. One that runs tells so itself when
// its settings change; this is for one whose old address leads nowhere.
func (m members) Update(ctx context.Context, id uint64, peerURLs []string) error {
	address, err := hostOf(peerURLs)
	if err != nil {
		return err
	}
	if err := m.node.Sync(ctx); err != nil {
		return err
	}
	row, known := m.machine.Member(id)
	if !known {
		return rpctypes.ErrGRPCMemberNotFound
	}
	row.PeerURLs = peerURLs
	if err := m.propose(ctx, state.MemberSetCommand(selfIdentity, row)); err != nil {
		return err
	}
	if _, listed := memberAt(m.node.Members(), id); !listed {
		return nil
	}
	return m.node.SetAddress(ctx, id, address)
}

// Promote gives a learner a vote.
func (m members) Promote(ctx context.Context, id uint64) error {
	if err := m.node.Sync(ctx); err != nil {
		return err
	}
	_, known := m.machine.Member(id)
	s, listed := memberAt(m.node.Members(), id)
	switch {
	case !known:
		return rpctypes.ErrGRPCMemberNotFound
	case !listed: // as etcd says it of a voter that has not come, too
		return rpctypes.ErrGRPCLearnerNotReady
	case !s.Learner:
		return rpctypes.ErrGRPCMemberNotLearner
	}
	if err := m.node.Promote(ctx, id); errors.Is(err, raft.ErrNotReady) {
		return rpctypes.ErrGRPCLearnerNotReady
	} else if err != nil {
		return err
	}
	return m.propose(ctx, state.MemberPromoteCommand(selfIdentity, id))
}

// MoveLeader hands leadership to a voter.
func (m members) MoveLeader(ctx context.Context, to uint64) error {
	if s, listed := memberAt(m.node.Members(), to); !listed || s.Learner {
		return rpctypes.ErrGRPCBadLeaderTransferee
	}
	return m.node.Transfer(ctx, to)
}
