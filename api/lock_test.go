// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/api/recipe"
	"github.com/cleatd/cleat/kv"
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
