// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"time"

	hraft "github.com/hashicorp/raft"
)

// let has hraft consider a candidate where it would refuse it for a leader that
// has been silent for as long as one is trusted. hraft goes on to trust its
// leader until a timer of its own, of one to two times that, has run out, and
// often a second one: of three members both that are left had to wait for
// theirs, and nobody could write for 1.16 s in the median. All else that hraft
// asks of a candidate, and what keeps it from voting twice, stays as it is; who
// hears the leader still refuses.
func (t *transport) let(rpc hraft.RPC) {
	voter := t.voter.Load()
	if voter == nil || voter.State() != hraft.Follower {
		return
	}
	leader, _ := voter.LeaderWithID()
	if leader == "" || time.Since(voter.LastContact()) < t.trust {
		return
	}
	switch request := rpc.Command.(type) {
	case *hraft.RequestPreVoteRequest:
		request.Addr = []byte(leader) // hraft takes the address for this question alone
	case *hraft.RequestVoteRequest:
		request.LeadershipTransfer = true
	}
}
