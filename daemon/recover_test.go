// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

// goesOn checks that a recovered member is a cluster of its own, with its data,
// which others can join.
func (l *life) goesOn(before uint64) {
	l.t.Helper()
	l.reports(func(s *admin.StatusResponse) error {
		if s.ClusterId == before || s.Raft.Leader != s.MemberId {
			return errors.New("it is what it was")
		}
		return nil
	})
	if r, err := l.client.Get(within(l.t), "k"); err != nil || len(r.Kvs) != 1 {
		l.t.Errorf("its data: %v, %v", r, err)
	}
	if r, err := l.client.MemberList(within(l.t)); err != nil || len(r.Members) != 1 || r.Members[0].IsLearner {
		l.t.Errorf("its members: %v, %v", r, err)
	}
	if _, err := l.client.Put(within(l.t), "k", "alone"); err != nil {
		l.t.Fatal(err)
	}
}

func TestASurvivorGoesOnAlone(t *testing.T) {
	members := three(t)
	one, two, three := members[0], members[1], members[2]
	cluster := three.d.dir.clusterID()
	if _, err := one.client.Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if _, err := three.client.Get(within(t), "k"); err != nil {
		t.Fatal(err)
	}
	_, err := three.administer().Recover(within(t), &admin.RecoverRequest{ForceNewCluster: true})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "has a leader") {
		t.Errorf("recover with a leader: %v", err)
	}
	twos := Options{Config: *two.d.config(), Level: two.d.level, Logger: two.d.log}
	_, _ = one.end(), two.end()
	three.reports(func(s *admin.StatusResponse) error {
		if s.Raft.Leader != 0 {
			return errors.New("a leader still")
		}
		return nil
	})
	if _, err := three.administer().Recover(within(t), &admin.RecoverRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("recover without force: %v", err)
	}
	r, err := three.administer().Recover(within(t), &admin.RecoverRequest{ForceNewCluster: true})
	if err != nil || len(r.Removed) != 2 || r.Revision < 2 {
		t.Fatalf("recover: %v, %v", r, err)
	}
	three.goesOn(cluster)

	// One of those that were given up comes back, and is told to join anew.
	two = begin(t, twos)
	by := three.invite(&admin.InviteRequest{})
	_, err = two.administer().Join(within(t), &admin.JoinRequest{Token: by.Token, Address: by.Address})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "--discard") {
		t.Errorf("join of a member with data: %v", err)
	}
	if _, err := two.client.Put(within(t), "k", "elsewhere"); err == nil {
		t.Error("it takes writes by itself")
	}
	if _, err := two.administer().Join(within(t), &admin.JoinRequest{Token: by.Token, Address: by.Address, Discard: true}); err != nil {
		t.Fatal(err)
	}
	two.voter()
	sameHistory(t, two, three)
}

func TestAStoppedSurvivorIsRecovered(t *testing.T) {
	members := three(t)
	o := Options{Config: *members[2].d.config(), Level: members[2].d.level, Logger: members[2].d.log}
	cluster := members[2].d.dir.clusterID()
	l, err := members[0].client.Grant(within(t), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := members[0].client.Put(within(t), "k", "v", clientv3.WithLease(l.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := members[2].client.Get(within(t), "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(o); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("recover a member that runs: %v", err)
	}
	for _, m := range members {
		_ = m.end() // those that end last find nobody to hand over to
	}
	file := filepath.Join(o.Config.DataDir, "member.json")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Recover(o)
	if err != nil || len(r.Others) != 2 || r.Revision < 2 {
		t.Fatalf("recover: %+v, %v", r, err)
	}

	// Cut short before the directory had its new name: it is refused by name,
	// and the same command mends it.
	if err := os.WriteFile(file, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "cleatd recover") {
		t.Errorf("open: %v", err)
	}
	again, err := Recover(o)
	if err != nil || again.Cluster != r.Cluster || len(again.Others) != 0 {
		t.Errorf("recover again: %+v, %v", again, err)
	}
	var m memberFile
	if raw, err := os.ReadFile(file); err != nil || json.Unmarshal(raw, &m) != nil || m.Joined != nil {
		t.Errorf("member.json %+v, %v", m, err)
	}
	alone := begin(t, o)
	alone.goesOn(cluster)
	if r, err := alone.client.TimeToLive(within(t), l.ID); err != nil || r.TTL <= 0 {
		t.Errorf("its leases: %v, %v", r, err)
	}
	if _, err := alone.client.MemberRemove(within(t), again.Member); !errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) {
		t.Errorf("remove the last: %v", err)
	}
}

func TestNothingIsMadeWhereThereIsNothingToRecover(t *testing.T) {
	o := options(t, shortDir(t))
	if _, err := Recover(o); !errors.Is(err, ErrConfig) {
		t.Errorf("recover: %v", err)
	}
	if _, err := os.Stat(o.Config.DataDir); err == nil {
		t.Error("a data directory was made")
	}
}
