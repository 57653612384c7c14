// SPDX-License-Identifier: Apache-2.0

//go:build !race

// The race detector would make the hundreds of megabytes of this test take a
// minute and a half, and they are as many as the real reserve leaves.

package daemon

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What fills the disk may be the member's own: deleting and compacting must
// bring the room back with nothing else to do.
func TestDeletingAndCompactingGivesRoomBack(t *testing.T) {
	o := options(t, smallDisk(t, 600<<20))
	o.Config.ReserveBytes = -1
	l := begin(t, o)
	n := l.fill(1 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.put("x", 1); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatalf("after %d MiB: %v, want %v", n, err, rpctypes.ErrNoSpace)
	}
	revision := l.deleteAll(ctx, n)
	if _, err := l.client.Compact(ctx, revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	l.await("writes come back", nil)
	late := time.After(patience)
	for used := usedDisk(t, o); used > 280<<20; used = usedDisk(t, o) {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-late:
			t.Fatalf("%d MiB are still in use, of at least 344", used>>20)
		}
	}
	l.works()
}

func usedDisk(t *testing.T, o Options) int64 {
	t.Helper()
	free, total, err := diskSpace(o.Config.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	return total - free
}
