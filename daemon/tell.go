// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cleatd/cleat/admin"
	"github.com/cleatd/cleat/raft"
)

// tellLimit is how long another member may take to tell how it is: one that is
// well does so in milliseconds, and whoever asks wants to see the others.
const tellLimit = 2 * time.Second

// membersTell asks all other members at once how they are. It needs no leader,
// and is back while its caller has half of the time left that it had.
func (d *Daemon) membersTell(ctx context.Context, metrics []string) []*admin.MemberStatus {
	limit := tellLimit
	if end, bounded := ctx.Deadline(); bounded {
		limit = min(limit, time.Until(end)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	servers := d.node.Members()
	var all []*admin.MemberStatus
	var asking sync.WaitGroup
	for _, m := range (members{d}).List() {
		row, _ := d.machine.Member(m.ID) // one that was removed just now is nothing for good
		told := &admin.MemberStatus{Id: m.ID, Name: m.Name, Learner: m.IsLearner, LearnerForGood: row.Learner}
		all = append(all, told)
		at, listed := memberAt(servers, m.ID)
		switch {
		case m.ID == d.dir.memberID():
		case !listed:
			told.Announced, told.Unreached = true, "it was announced, and has not come yet"
		case d.peers == nil:
			told.Unreached = "this member has no peer door"
		default:
			asking.Go(func() { d.askHowItIs(ctx, at, metrics, told) })
		}
	}
	asking.Wait()
	slices.SortFunc(all, func(a, b *admin.MemberStatus) int { return cmp.Compare(a.Id, b.Id) })
	return all
}

// askHowItIs asks one member, and compares its clock with this one's: it looked
// at it between the question and the answer.
func (d *Daemon) askHowItIs(ctx context.Context, at raft.Member, metrics []string, told *admin.MemberStatus) {
	reply, sent := new(admin.StatusResponse), time.Now()
	err := d.peers.Invoke(ctx, at.ID, at.Address, admin.Peer_Status_FullMethodName, &admin.StatusRequest{Metrics: metrics}, reply)
	took := time.Since(sent)
	switch {
	case status.Code(err) == codes.Unimplemented:
		told.Unreached = "its version is too old to tell how it is"
	case err != nil && ctx.Err() != nil:
		told.Unreached = "it gave no answer at " + at.Address + " within " + took.Round(100*time.Millisecond).String()
	case err != nil:
		told.Unreached = strings.TrimPrefix(status.Convert(err).Message(), raft.ErrUnreached.Error()+": ")
	default:
		told.Status = reply
		told.RoundTrip = durationpb.New(took)
		told.Ahead = durationpb.New(reply.Time.AsTime().Sub(sent.Add(took / 2)))
	}
}

// Status tells another member how this one is.
func (d arrivals) Status(_ context.Context, r *admin.StatusRequest) (*admin.StatusResponse, error) {
	return d.office.Own(r.Metrics)
}
