// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cleatd/cleat/raft"
)

const patienceLimit = 7 * time.Second

func newPatience(t *testing.T) (*patience, context.CancelFunc) {
	base, stop := context.WithCancel(t.Context())
	return &patience{base: base, limit: patienceLimit}, stop
}

func TestRequestsOfAMomentShareTheirBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := newPatience(t)
		defer stop()
		ctx := t.Context()
		first := p.bound(ctx, time.Now())
		time.Sleep(grain - 1) // of a bubble, like all here: no time passes outside
		if p.bound(ctx, time.Now()) != first {
			t.Error("requests of one moment do not share")
		}
		time.Sleep(2 * time.Nanosecond)
		second := p.bound(ctx, time.Now())
		if second == first {
			t.Error("requests of two moments share")
		}
		began := time.Now()
		<-second.Done()
		if took := time.Since(began); took < patienceLimit || took > patienceLimit+grain {
			t.Errorf("waited %v", took)
		}
	})
}

func TestAClientInAHurryKeepsItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stop := newPatience(t)
		defer stop()
		hurry, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if p.bound(hurry, time.Now()) != hurry {
			t.Error("a deadline that is sooner was replaced")
		}
		patient, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if p.bound(patient, time.Now()) == patient {
			t.Error("a deadline that is later was kept")
		}
	})
}

func TestVerdictTellsWhoseTimeIsUp(t *testing.T) {
	p, stop := newPatience(t)
	gone, leave := context.WithCancel(t.Context())
	leave()
	other := errors.New("other")
	cases := []struct {
		name      string
		ctx       context.Context
		err, want error
	}{
		{"no error", t.Context(), nil, nil},
		{"another error", t.Context(), other, other},
		{"the client left", gone, context.DeadlineExceeded, context.Canceled},
		{"the cluster took too long", t.Context(), context.DeadlineExceeded, rpctypes.ErrGRPCTimeout},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := p.verdict(c.ctx, c.err); !errors.Is(got, c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
	leaderless := fmt.Errorf("%w: %w", raft.ErrNoLeader, context.DeadlineExceeded)
	if got := p.verdict(t.Context(), leaderless); !errors.Is(got, rpctypes.ErrGRPCTimeout) {
		t.Errorf("nobody leads: got %v", got)
	}
	if got := p.ofLeader(t.Context(), leaderless); !errors.Is(got, rpctypes.ErrGRPCNoLeader) {
		t.Errorf("nobody leads who could tell: got %v", got)
	}
	if got := p.ofLeader(t.Context(), context.DeadlineExceeded); !errors.Is(got, rpctypes.ErrGRPCTimeout) {
		t.Errorf("the leader took too long to tell: got %v", got)
	}
	if got := p.ofLeader(gone, leaderless); !errors.Is(got, context.Canceled) {
		t.Errorf("the client left before the leader told: got %v", got)
	}
	stop()
	if got := p.verdict(t.Context(), context.Canceled); !errors.Is(got, errStopping) {
		t.Fatalf("stopping: got %v", got)
	}
}

func TestTermIsReadAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := uint64(1)
		term := newTerm(func() uint64 { return now })
		if term.current() != 1 {
			t.Fatal("the first answer is not the node's")
		}
		now = 2
		if term.current() != 1 {
			t.Error("the node was asked again at once")
		}
		time.Sleep(termLife)
		if term.current() != 2 {
			t.Error("the answer is too old")
		}
	})
}

func TestStreamsThatInsistOnALeaderEndWithoutOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &solo{}
		base, stop := context.WithCancel(t.Context())
		s := &Server{config: Config{Node: node}, base: base}
		s.group.Go(s.followLeader)
		defer s.group.Wait()
		defer stop()
		insisting, end := s.streams.add(t.Context(), true)
		defer end()
		patient, end := s.streams.add(t.Context(), false)
		defer end()

		node.fail(nodeFaults{leaderOff: true})
		time.Sleep(2*leaderPatience + leaderPatience/2)
		node.fail(nodeFaults{})
		time.Sleep(leaderPatience)
		if insisting.Err() != nil {
			t.Fatal("a stream ended although the leader was back in time")
		}
		node.fail(nodeFaults{leaderOff: true})
		time.Sleep(3*leaderPatience + leaderPatience/2)
		if !errors.Is(context.Cause(insisting), errNoLeaderForLong) {
			t.Errorf("the stream goes on: %v", context.Cause(insisting))
		}
		if patient.Err() != nil {
			t.Error("a stream that does not insist ended")
		}
	})
}
