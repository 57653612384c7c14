// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cleatd/cleat/admin"
)

// backup saves a snapshot and returns its file.
func (l *life) backup() string {
	l.t.Helper()
	r, err := l.client.Snapshot(within(l.t))
	if err != nil {
		l.t.Fatal(err)
	}
	defer r.Close()
	path := filepath.Join(l.t.TempDir(), "backup.db")
	f, err := os.Create(path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		l.t.Fatal(err)
	}
	return path
}

func (l *life) hashKV() *clientv3.HashKVResponse {
	l.t.Helper()
	h, err := l.client.HashKV(within(l.t), l.client.Endpoints()[0], 0)
	if err != nil {
		l.t.Fatal(err)
	}
	return h
}

// filled is a member with keys, history, a compaction, a lease and a user.
func filled(t *testing.T, o Options) (*life, clientv3.LeaseID) {
	t.Helper()
	l := begin(t, o)
	granted, err := l.client.Grant(within(t), 600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.client.Put(within(t), "leased", "x", clientv3.WithLease(granted.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.client.UserAdd(within(t), "alice", "alice"); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if err := l.put(fmt.Sprint(i%10), 1000); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.client.Compact(within(t), 15, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	return l, granted.ID
}

// A restored member is another cluster with the same data, and whoever joins
// gets all of it, although the log has nothing of it.
func TestARestoredMemberHasItAllAndSoHasWhoJoins(t *testing.T) {
	old, leased := filled(t, advertised(t, "old"))
	want := old.hashKV()
	file := old.backup()
	o := advertised(t, "new")
	r, err := Restore(o, Restoring{File: file})
	if err != nil || r.Revision != want.Header.Revision || r.Leases != 1 || r.Users != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	restored := begin(t, o)
	if h := restored.hashKV(); h.Hash != want.Hash || h.CompactRevision != want.CompactRevision || h.Header.ClusterId == want.Header.ClusterId {
		t.Errorf("%v, was %v", h, want)
	}
	if ttl, err := restored.client.TimeToLive(within(t), leased, clientv3.WithAttachedKeys()); err != nil || ttl.TTL <= 0 || len(ttl.Keys) != 1 {
		t.Errorf("%+v %v", ttl, err)
	}
	joined := begin(t, advertised(t, "joined"))
	joined.join(restored.invite(&admin.InviteRequest{}))
	joined.voter()
	for _, l := range []*life{restored, joined} { // what is written anew reaches both
		if _, err := l.client.Put(within(t), "after", "the restore"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := joined.client.Get(within(t), "after"); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*life{restored, joined} {
		if s, err := l.client.AuthStatus(within(t)); err != nil || s.AuthRevision != 2 {
			t.Errorf("%+v %v", s, err)
		}
		if _, err := l.client.UserGet(within(t), "alice"); err != nil {
			t.Error(err)
		}
	}
	if a, b := restored.hashKV(), joined.hashKV(); a.Hash != b.Hash || a.HashRevision != b.HashRevision {
		t.Errorf("%v, who joined has %v", a, b)
	}
	if err := errors.Join(joined.end(), restored.end(), old.end()); err != nil {
		t.Error(err)
	}
	again := begin(t, o)
	if _, err := again.client.Get(within(t), "after", clientv3.WithSerializable()); err != nil {
		t.Error(err)
	}
}

func TestARestoreWritesNothingWhereItMayNot(t *testing.T) {
	l, _ := filled(t, options(t, shortDir(t)))
	good := l.backup()
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	if err := os.WriteFile(damaged, raw[:len(raw)-1000], 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(t, shortDir(t))
	for _, file := range []string{damaged, "/etc/passwd", filepath.Join(t.TempDir(), "none")} {
		if _, err := Restore(o, Restoring{File: file}); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", file, err)
		}
		if left, err := os.ReadDir(o.Config.DataDir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: it wrote %v, %v", file, left, err)
		}
	}
	if _, err := Restore(Options{Config: *l.d.config(), Level: o.Level, Logger: o.Logger}, Restoring{File: good}); !errors.Is(err, ErrConfig) {
		t.Errorf("into a directory in use: %v", err)
	}
	full := options(t, shortDir(t))
	if err := os.MkdirAll(filepath.Join(full.Config.DataDir, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(full, Restoring{File: good}); !errors.Is(err, ErrConfig) {
		t.Errorf("into a directory that is not empty: %v", err)
	}
}

// A restore that was cut short anywhere does not start as something else, and
// is finished by the same command.
func TestARestoreThatWasCutShortIsDoneAgain(t *testing.T) {
	l, _ := filled(t, options(t, shortDir(t)))
	want, good := l.hashKV(), l.backup()
	o := options(t, shortDir(t))
	if _, err := Restore(o, Restoring{File: good}); err != nil {
		t.Fatal(err)
	}
	dir := o.Config.DataDir
	if err := errors.Join(os.Remove(filepath.Join(dir, "member.json")), os.WriteFile(filepath.Join(dir, restoringFile), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), o); !errors.Is(err, ErrConfig) {
		t.Fatalf("a half restored member starts: %v", err)
	}
	if _, err := Restore(o, Restoring{File: good}); err != nil {
		t.Fatal(err)
	}
	again := begin(t, o)
	if h := again.hashKV(); h.Hash != want.Hash {
		t.Errorf("%v, was %v", h, want)
	}
	early := options(t, shortDir(t)) // cut short before it had written its first name
	if err := errors.Join(os.Mkdir(early.Config.DataDir, 0o700), os.WriteFile(filepath.Join(early.Config.DataDir, restoringFile+".new"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(early, Restoring{File: good}); err != nil {
		t.Error(err)
	}
}

// sick is a disk that fails to write to a file from the first table on: when
// the manifest is to name that, Pebble never returns.
func sick(file string, errno syscall.Errno) vfs.FS {
	var begun atomic.Bool
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpFileWrite {
			return nil
		}
		if strings.Contains(op.Path, ".sst") {
			begun.Store(true)
		}
		if begun.Load() && strings.Contains(op.Path, file) {
			return &os.PathError{Op: "write", Path: op.Path, Err: errno}
		}
		return nil
	}))
}

// Whatever the disk does, a restore comes to an end, says what to do, and
// leaves nothing that starts.
func TestARestoreToADiskThatFails(t *testing.T) {
	l, _ := filled(t, options(t, shortDir(t)))
	good := l.backup()
	for name, c := range map[string]struct {
		file  string // part of its name
		errno syscall.Errno
		says  string
	}{
		"a full disk":          {".sst", syscall.ENOSPC, "make room on the disk"},
		"a table that fails":   {".sst", syscall.EIO, "mend the disk"},
		"a manifest that does": {"MANIFEST", syscall.EIO, "mend the disk"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, shortDir(t))
			healthy := o
			o.faults.state = sick(c.file, c.errno)
			_, err := Restore(o, Restoring{File: good})
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "give the same command again") {
				t.Errorf("%v", err)
			}
			if _, err := Open(t.Context(), healthy); !errors.Is(err, ErrConfig) {
				t.Errorf("a half restored member starts: %v", err)
			}
		})
	}
}

func TestARecoveryOnADiskThatFails(t *testing.T) {
	for _, file := range []string{".sst", "MANIFEST"} {
		o := options(t, shortDir(t))
		l := begin(t, o)
		if err := errors.Join(l.put("k", 100), l.end()); err != nil {
			t.Fatal(err)
		}
		o.faults.state = sick(file, syscall.ENOSPC)
		if _, err := Recover(o); err == nil || !strings.Contains(err.Error(), "make room on the disk") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestASnapshotThatHasNoRoomIsRefusedWithFigures(t *testing.T) {
	o := options(t, shortDir(t))
	l := begin(t, o)
	_, total, err := diskSpace(l.d.dir.path)
	if err != nil {
		t.Fatal(err)
	}
	l.d.config().ReserveBytes = total // as if nothing were free
	r, err := l.client.Snapshot(within(t))
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("%v", err)
	}
	t.Log(err)
}
