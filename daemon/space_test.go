// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// below checks what a member does whose disk has less than the reserve, with
// the keys "0" to "9" and a lease that holds key "leased".
func (l *life) below(lease clientv3.LeaseID) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	for name, write := range map[string]func() error{
		"put":   func() error { return l.put("more", 10) },
		"grant": func() error { _, err := l.client.Grant(ctx, 60); return err },
		"txn that may put": func() error {
			_, err := l.client.Txn(ctx).If(clientv3.Compare(clientv3.Version("0"), "=", 0)).Then(clientv3.OpPut("0", "x")).Commit()
			return err
		},
	} {
		if err := write(); !errors.Is(err, rpctypes.ErrNoSpace) {
			l.t.Errorf("%s: %v, want %v", name, err, rpctypes.ErrNoSpace)
		}
	}
	l.holds(10, 10)
	deleted, err := l.client.Delete(ctx, "0")
	if err != nil || deleted.Deleted != 1 {
		l.t.Errorf("delete: %v, %v", deleted, err)
	}
	txn, err := l.client.Txn(ctx).Then(clientv3.OpDelete("1"), clientv3.OpGet("2")).Commit()
	if err != nil || !txn.Succeeded {
		l.t.Errorf("transaction that deletes: %v, %v", txn, err)
	}
	if _, err := l.client.Revoke(ctx, lease); err != nil {
		l.t.Errorf("revoke: %v", err)
	}
	if r, err := l.client.Get(ctx, "leased"); err != nil || len(r.Kvs) != 0 {
		l.t.Errorf("the key of a revoked lease: %v, %v", r, err)
	}
	if _, err := l.client.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		l.t.Errorf("compact: %v", err)
	}
}

// furnish writes what below expects.
func (l *life) furnish() clientv3.LeaseID {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	for i := range 10 {
		if err := l.put(fmt.Sprint(i), 10); err != nil {
			l.t.Fatal(err)
		}
	}
	lease, err := l.client.Grant(ctx, 600)
	if err == nil {
		_, err = l.client.Put(ctx, "leased", "", clientv3.WithLease(lease.ID))
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return lease.ID
}

// At the reserve every write would turn the answer to the next one.
func TestWritesWaitForALittleMoreThanTheReserve(t *testing.T) {
	s := &space{log: slog.New(slog.DiscardHandler)}
	s.enough.Store(true)
	for i, c := range []struct {
		free int64
		want bool
	}{{1000, true}, {999, false}, {1000, false}, {1049, false}, {1050, true}, {1000, true}, {999, false}} {
		if s.judge(c.free, 1000); s.Enough() != c.want {
			t.Errorf("%d: %d bytes free: enough %t", i, c.free, s.Enough())
		}
	}
}

func TestBelowTheReserveOnlyWhatTakesRoomIsRefused(t *testing.T) {
	o := options(t, shortDir(t))
	l := begin(t, o)
	lease := l.furnish()
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	o.Config.ReserveBytes = 1 << 62
	l = begin(t, o)
	l.below(lease)
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	o.Config.ReserveBytes = 0
	begin(t, o).works()
}

// A member that has never written has to make its CA, or nobody could come in
// to free the disk.
func TestAFirstStartBelowTheReserve(t *testing.T) {
	o := options(t, shortDir(t))
	o.Config.ReserveBytes = 1 << 62
	l := begin(t, o)
	if err := l.put("x", 1); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("put: %v, want %v", err, rpctypes.ErrNoSpace)
	}
	if err := l.end(); err != nil {
		t.Error(err)
	}
}

func TestWritesComeBackWithTheRoom(t *testing.T) {
	o := options(t, smallDisk(t, 600<<20))
	o.Config.ReserveBytes = -1 // at least 256 MiB
	l := begin(t, o)
	lease := l.furnish()
	ballast := filepath.Join(filepath.Dir(o.Config.DataDir), "ballast")
	for range 2 {
		occupy(t, ballast, 300<<20)
		l.await("the disk is known to be short", rpctypes.ErrNoSpace)
		if lease != 0 {
			l.below(lease)
			lease = 0
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		l.await("the room is known to be back", nil)
	}
	l.works()
}

// deleteAll deletes the keys 0 to n-1, few at a time: a deletion walks over the
// values, too, which takes a busy machine longer than a request may last. It
// returns the last revision.
func (l *life) deleteAll(ctx context.Context, n int) (revision int64) {
	l.t.Helper()
	const few = 16
	for i := 0; i < n; {
		ops := make([]clientv3.Op, min(few, n-i))
		for j := range ops {
			ops[j] = clientv3.OpDelete(fmt.Sprint(i + j))
		}
		r, err := l.client.Txn(ctx).Then(ops...).Commit()
		switch {
		case errors.Is(err, rpctypes.ErrTimeout): // a busy machine, and perhaps it happened
			continue
		case err != nil:
			l.t.Fatal(err)
		}
		revision = r.Header.Revision
		i += len(ops)
	}
	return revision
}

// await repeats a small write until its error is want.
func (l *life) await(what string, want error) {
	l.t.Helper()
	late := time.After(patience)
	for {
		err := l.put("small", 10)
		if errors.Is(err, want) {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-late:
			l.t.Fatalf("%s: %v, want %v", what, err, want)
		}
	}
}

// smallDisk is a directory on a disk of its own.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small disk: run the tests as root, too")
	}
	dir := shortDir(t)
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// occupy takes so many bytes of the disk.
func occupy(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, size), f.Close()); err != nil {
		t.Fatal(err)
	}
}
