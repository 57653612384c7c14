// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cleatd/cleat/admin"
)

const lookEvery = 100 * time.Millisecond

// awaitCaughtUp waits until a member that was let in has what the others have,
// and votes if it is to, which it returns. The member begins anew meanwhile, behind the same
// socket. It gives up when --command-timeout is over, or after joinTime in which
// it has come no nearer.
func (s *session) awaitCaughtUp(r *admin.JoinResponse) (votes bool, err error) {
	shown := startProgress(s.c, "catching up", inEntries)
	defer shown.Close()
	ctx, cancel := context.WithCancel(s.c.Context)
	defer cancel()
	if sourceOf(s.c, "command-timeout") != fromDefault {
		ctx, cancel = context.WithTimeout(ctx, s.c.Duration("command-timeout"))
		defer cancel()
	}
	calls := admin.NewAdminClient(s.ActiveConnection())
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	moved, newest := time.Now(), uint64(0)
	for {
		status, err := lookAt(ctx, calls)
		if err == nil && status.GetMemberId() == r.GetMemberId() {
			if caughtUp(status) {
				return !status.GetRaft().GetLearner(), nil
			}
			applied := status.GetRaft().GetApplied()
			shown.set(int64(applied), int64(applied)+behind(status, status))
			if applied > newest && behind(status, status) > 0 { // an idle cluster agrees upon something each minute
				moved, newest = time.Now(), applied
			}
		}
		if ctx.Err() != nil || time.Since(moved) > joinTime {
			return false, notCaughtUp(status, err)
		}
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
}

// lookAt bounds one look: a member that begins anew may keep one waiting.
func lookAt(ctx context.Context, calls admin.AdminClient) (*admin.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return calls.Status(ctx, &admin.StatusRequest{Members: true})
}

// caughtUp says whether a member is what it is to be. One that is to vote does
// when it has caught up; of one that stays a learner the leader knows most.
func caughtUp(s *admin.StatusResponse) bool {
	self, leader := memberIn(s, s.GetMemberId()), memberIn(s, s.GetRaft().GetLeader())
	if self == nil || leader == nil {
		return false // it has not come so far that it knows itself, or nobody leads
	}
	if !self.GetLearnerForGood() {
		return !s.GetRaft().GetLearner()
	}
	return leader.GetStatus() != nil && s.GetRaft().GetApplied() >= leader.GetStatus().GetRaft().GetCommit()
}

// memberIn is what is told of a member, nil if it is not listed.
func memberIn(s *admin.StatusResponse, id uint64) *admin.MemberStatus {
	for _, m := range s.GetMembers() {
		if m.GetId() == id {
			return m
		}
	}
	return nil
}

func notCaughtUp(s *admin.StatusResponse, err error) error {
	why := "no leader reaches it"
	switch {
	case err != nil:
		why = withoutCode(err.Error())
	case s.GetRaft().GetLeader() != 0:
		why = fmt.Sprintf("it is %s behind", inEntries(behind(s, s)))
	}
	return errors.New("the member has joined, and has not caught up in time (" + why + "): cleatctl status shows how far it is")
}
