// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
	adminserver "github.com/cleatd/cleat/admin/server"
	"github.com/cleatd/cleat/peer"
	"github.com/cleatd/cleat/pki"
	"github.com/cleatd/cleat/state"
)

// openPeers lets other members in, and this one out to them; each start comes
// through here, once all is open that there is to tell of.
func (d *Daemon) openPeers() {
	d.office = d.newOffice()
	if d.peers == nil {
		return
	}
	entry := adminserver.NewEntry(d.pki, d.admissible, d.log)
	doors := make([]net.Listener, 0, len(d.doors.peer()))
	for _, l := range d.doors.peer() {
		doors = append(doors, l.lend())
	}
	d.peers.Open(d.pki, peer.Services{
		Answer:  d.node.Answer,
		Receive: d.node.Receive,
		Members: func(r grpc.ServiceRegistrar) { admin.RegisterPeerServer(r, arrivals{Daemon: d}) },
		Entry:   entry.Register,
		Refused: d.refusedAt(doorPeer),
	}, doors...)
}

// admissible refuses a machine with a good token that the cluster could not
// take in all the same.
func (d *Daemon) admissible(ctx context.Context, r *admin.AdmitRequest, info pki.TokenInfo) error {
	if err := d.node.Sync(ctx); err != nil {
		return status.Errorf(codes.Unavailable, "the cluster cannot take in anybody now: %v", err)
	}
	if err := d.tooOld(r.Format); err != nil {
		return err
	}
	for _, m := range d.machine.Members() {
		// One that the token has let in may be the same machine, which asks again.
		if m.Name == r.Name && m.ID != info.Member && !slices.Contains(info.Joined, m.ID) {
			return status.Errorf(codes.AlreadyExists,
				"the name %q is member %s's already: give the machine another with --name, or remove that member first", r.Name, hexID(m.ID))
		}
	}
	if others := d.learnersBeside(info.Member); info.Role == pki.RoleLearner && len(others) >= state.MaxLearners {
		return tooManyLearners(codes.FailedPrecondition, others)
	}
	return nil
}

// learnersBeside are the members for good without a vote, but for one. They are
// asked for early, to spare a machine the way; what counts is the state's word
// when it arrives, since others may join meanwhile.
func (d *Daemon) learnersBeside(id uint64) []string {
	var found []string
	for _, m := range d.machine.Members() {
		if m.Learner && m.ID != id {
			found = append(found, hexID(m.ID))
		}
	}
	return found
}

func tooManyLearners(code codes.Code, others []string) error {
	return status.Errorf(code, "the cluster takes no more than %d learner, and has %s: promote that member or remove it first, or invite this machine without --learner",
		state.MaxLearners, strings.Join(others, ", "))
}

// arrivals answers other members.
type arrivals struct {
	admin.UnimplementedPeerServer
	*Daemon
}

// Arrive looks whether the new member can be reached and has the cluster take
// it in as a learner.
func (d arrivals) Arrive(ctx context.Context, r *admin.ArriveRequest) (*admin.ArriveResponse, error) {
	id, err := peer.MemberOf(ctx)
	if err != nil {
		return nil, err
	}
	address, err := hostOf(r.PeerUrls)
	if err != nil {
		return nil, err
	}
	if err := d.node.Sync(ctx); err != nil {
		return nil, status.Errorf(codes.Unavailable, "the cluster cannot take in anybody now: %v", err)
	}
	if d.machine.Removed(id) {
		return nil, status.Errorf(codes.PermissionDenied, "member %s was removed from the cluster: empty its data directory, and join with a new token", hexID(id))
	}
	if err := d.tooOld(r.Format); err != nil { // the format may have been raised meanwhile
		return nil, err
	}
	back, err := d.peers.Dial(ctx, id, address)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition,
			"member %s cannot be reached at %s from here: %v; correct its advertise setting, or open the port", hexID(id), address, err)
	}
	_ = back.Close() // it was only to be seen
	m := state.Member{ID: id, Name: r.Name, PeerURLs: r.PeerUrls, ClientURLs: r.ClientUrls, Learner: r.Learner, Format: r.Format}
	_, err = committed(d.node.Propose(ctx, state.MemberSetCommand(selfIdentity, m)))
	switch {
	case errors.Is(err, state.ErrTooManyLearners):
		return nil, tooManyLearners(codes.ResourceExhausted, d.learnersBeside(id))
	case err != nil:
		return nil, status.Errorf(codes.FailedPrecondition, "member %s: %v", hexID(id), err)
	}
	// One that is listed may have moved before it got to know anybody but us.
	place := d.node.AddLearner
	at, listed := memberAt(d.node.Members(), id)
	if listed {
		place = d.node.SetAddress
	}
	if !listed || at.Address != address {
		if err := place(ctx, id, address); err != nil {
			return nil, status.Errorf(codes.Unavailable, "member %s is not added yet: %v", hexID(id), err)
		}
	}
	return d.others(), nil
}

// Dismiss is told that the cluster goes on without this member.
func (d arrivals) Dismiss(context.Context, *admin.DismissRequest) (*admin.DismissResponse, error) {
	d.removed()
	return new(admin.DismissResponse), nil
}

// others are the members that a new one can call.
func (d *Daemon) others() *admin.ArriveResponse {
	reply := new(admin.ArriveResponse)
	for _, m := range d.machine.Members() {
		reply.Members = append(reply.Members, &admin.Member{
			Id: m.ID, Name: m.Name, PeerUrls: m.PeerURLs, ClientUrls: m.ClientURLs, Learner: m.Learner,
		})
	}
	return reply
}

// hostOf returns the host and port of the first of a member's URLs.
func hostOf(urls []string) (string, error) {
	if len(urls) == 0 {
		return "", status.Error(codes.InvalidArgument, "a member without a peer URL cannot be reached")
	}
	u, err := url.Parse(urls[0])
	if err != nil || u.Scheme != "https" || u.Port() == "" {
		return "", status.Errorf(codes.InvalidArgument, "%q is not the URL of a peer door, such as https://HOST:2380", urls[0])
	}
	return u.Host, nil
}

// arrive tells the cluster of a member that was let in, until it is taken in.
// It returns at once when that is long done.
func (d *Daemon) arrive(ctx context.Context) error {
	j := d.dir.member.Joined
	if j == nil || d.peers == nil {
		return nil
	}
	pause := 50 * time.Millisecond
	for !d.listed() {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := d.peers.Invoke(attempt, 0, j.Address, admin.Peer_Arrive_FullMethodName, &admin.ArriveRequest{
			Name: d.config().Name, PeerUrls: d.peerURLs(), ClientUrls: d.clientURLs(), Format: d.newest, Learner: j.Learner,
		}, new(admin.ArriveResponse))
		cancel()
		switch status.Code(err) {
		case codes.OK:
		case codes.PermissionDenied, codes.InvalidArgument, codes.AlreadyExists, codes.OutOfRange, codes.ResourceExhausted:
			return fmt.Errorf("%w: the cluster does not take this member in: %s", ErrConfig, status.Convert(err).Message())
		default:
			if ctx.Err() == nil {
				d.log.Warn("not taken in yet; trying again", "by", j.Address, "cause", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
	return nil
}

// listed says whether the members as this one knows them include itself.
func (d *Daemon) listed() bool {
	_, listed := memberAt(d.node.Members(), d.dir.memberID())
	return listed
}

// removed is told that the cluster goes on without this member, perhaps more
// than once. Whoever asked for that here is answered first.
func (d *Daemon) removed() {
	if d.faults.stays {
		return
	}
	d.dismissed.Store(true)
	go d.leave()
}

func (d *Daemon) leave() {
	d.removing.Lock()
	defer d.removing.Unlock()
	d.fail(fmt.Errorf("%w: member %s was removed from cluster %s; to join again, empty %s and use a new token",
		ErrConfig, hexID(d.dir.memberID()), hexID(d.dir.clusterID()), d.dir.path))
}
