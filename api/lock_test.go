// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/api/recipe"
	"github.com/cleatd/cleat/kv"
	"github.com/cleatd/cleat/state"
)

// Who brings no lease gets one, which ends with nobody to keep it alive.
func TestALockWithoutALeaseGetsOne(t *testing.T) {
	s := startServer(t, nil)
	locks := recipe.NewLockClient(s.dial(t))
	r, err := locks.Lock(t.Context(), &recipe.LockRequest{Name: []byte("l")})
	if err != nil || !strings.HasPrefix(string(r.Key), "l/") {
		t.Fatalf("%v, %v", r, err)
	}
	leases := s.config.Machine.Leases().All()
	if len(leases) != 1 || leases[0].TTL != recipeTTL {
		t.Errorf("leases %+v", leases)
	}
}

// play asks for a lock or the lead in the background.
func play[R any](ask func() (R, error)) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := ask()
		ended <- err
	}()
	return ended
}

// A claim that was withdrawn and made again stands behind those that came
// meanwhile, also for whoever waited with the first one.
func TestALockIsNotHeldByTwo(t *testing.T) {
	s := startServer(t, nil)
	locks := recipe.NewLockClient(s.dial(t))
	for lease := range int64(3) {
		s.apply(t, state.LeaseGrantCommand(state.Identity{Root: true}, &pb.LeaseGrantRequest{ID: 7 + lease, TTL: 600}))
	}
	lock := func(lease int64, claims int64) <-chan error { // waits until the claim is made
		ended := play(func() (*recipe.LockResponse, error) {
			return locks.Lock(t.Context(), &recipe.LockRequest{Name: []byte("l"), Lease: lease})
		})
		if err := s.store.Wait(t.Context(), claims); err != nil {
			t.Fatal(err)
		}
		return ended
	}
	unlock := func(key string) {
		if _, err := locks.Unlock(t.Context(), &recipe.UnlockRequest{Key: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-lock(7, 2); err != nil {
		t.Fatal(err)
	}
	withdrawn := lock(8, 3)
	unlock("l/8") // revision 4
	second := lock(9, 5)
	third := lock(8, 6)
	unlock("l/7")
	if err := <-withdrawn; status.Convert(err).Message() != "mutex: session is expired" {
		t.Errorf("with a claim that is gone: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the next in turn: %v", err)
	}
	unlock("l/9")
	if err := <-third; err != nil {
		t.Errorf("the last: %v", err)
	}
}

// Waiting may last longer than a token or a right does. The claim goes all the
// same, or it would come to its turn with nobody there to unlock.
func TestWhoLosesItsRightsWhileItWaitsLeavesNoClaim(t *testing.T) {
	s := startServer(t, nil)
	s.staff(t)
	conn := s.dial(t)
	locks := recipe.NewLockClient(conn)
	alice := bearing(t.Context(), logIn(t, conn, "alice"))
	held, err := locks.Lock(t.Context(), &recipe.LockRequest{Name: []byte("a")})
	if err != nil {
		t.Fatal(err)
	}
	waits := play(func() (*recipe.LockResponse, error) { return locks.Lock(alice, &recipe.LockRequest{Name: []byte("a")}) })
	if err := s.store.Wait(t.Context(), held.Header.Revision+1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client(t).RoleRevokePermission(t.Context(), "writer", "a", "b"); err != nil {
		t.Fatal(err)
	}
	if _, err := locks.Unlock(t.Context(), &recipe.UnlockRequest{Key: held.Key}); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; status.Convert(err).Message() != "etcdserver: permission denied" {
		t.Errorf("got %v", err)
	}
	left, err := s.store.Range(kv.Range{Key: []byte("a/"), End: []byte("a0")}, kv.ReadOptions{})
	if err != nil || left.Count != 0 {
		t.Errorf("%d claims, %v", left.Count, err)
	}
}

// Who waits without a claim, since its lease has ended, is not told that it leads.
func TestNobodyLeadsByALeaseThatHasEnded(t *testing.T) {
	s := startServer(t, nil)
	elections := recipe.NewElectionClient(s.dial(t))
	root := state.Identity{Root: true}
	for lease := range int64(2) {
		s.apply(t, state.LeaseGrantCommand(root, &pb.LeaseGrantRequest{ID: 7 + lease, TTL: 600}))
	}
	won, err := elections.Campaign(t.Context(), &recipe.CampaignRequest{Name: []byte("e"), Lease: 7})
	if err != nil {
		t.Fatal(err)
	}
	waits := play(func() (*recipe.CampaignResponse, error) {
		return elections.Campaign(t.Context(), &recipe.CampaignRequest{Name: []byte("e"), Lease: 8})
	})
	if err := s.store.Wait(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	s.apply(t, state.LeaseRevokeCommand(root, &pb.LeaseRevokeRequest{ID: 8}))
	if _, err := elections.Resign(t.Context(), &recipe.ResignRequest{Leader: won.Leader}); err != nil {
		t.Fatal(err)
	}
	if err := <-waits; status.Convert(err).Message() != "election: not leader" {
		t.Errorf("got %v", err)
	}
}

// A stop ends those who wait, at once and with a reason to try elsewhere, and
// takes their claims back.
func TestAStopEndsWaitingForALock(t *testing.T) {
	s := startServer(t, nil)
	locks := recipe.NewLockClient(s.dial(t))
	if _, err := locks.Lock(t.Context(), &recipe.LockRequest{Name: []byte("l")}); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := locks.Lock(t.Context(), &recipe.LockRequest{Name: []byte("l")})
		waited <- err
	}()
	if err := s.store.Wait(t.Context(), 3); err != nil { // the second claim
		t.Fatal(err)
	}
	s.Stop(context.Background())
	if err := <-waited; status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	left, err := s.store.Range(kv.Range{Key: []byte("l/"), End: []byte("l0")}, kv.ReadOptions{})
	if err != nil || left.Count != 1 {
		t.Errorf("%d claims, %v", left.Count, err)
	}
}
