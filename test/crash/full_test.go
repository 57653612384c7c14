// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestAFullDiskStopsTheMemberAndRoomBringsItBack fills a small disk under a
// member that has no reserve to warn it.
func TestAFullDiskStopsTheMemberAndRoomBringsItBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small disk: run the tests as root, too")
	}
	random := func(key int) string { return string(value{id: uint64(key), size: 256 << 10}.bytes()) }
	// What compresses well fills the log, but not the state.
	dull := func(key int) string { return strings.Repeat(fmt.Sprint(key), 64<<10) }
	for name, c := range map[string]struct {
		flag  string
		left  int64 // bytes of the disk for the member
		value func(key int) string
		names string // the file that did not fit
	}{
		"no room for a table of the state":   {"--raft-log=wal", 80 << 20, random, ".sst"},
		"no room for a segment of the log":   {"--raft-log=wal", 100 << 20, dull, ".wal"},
		"no room for another page of boltdb": {"--raft-log=boltdb", 24 << 20, random, "log.db"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t, c.flag, "--reserve-bytes=0")
			mount(t, h.dir, 400<<20)
			ballast := filepath.Join(h.dir, "ballast")
			occupy(t, ballast, c.left)
			acknowledged := fill(t, h, c.value, c.names)
			tryAgain(t, h)
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			holds(t, h, acknowledged, c.value)
		})
	}
}

func mount(t *testing.T, dir string, size int) {
	t.Helper()
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
}

// occupy leaves so many bytes of the disk.
func occupy(t *testing.T, path string, left int64) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(path), &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = syscall.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-left)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// fill writes until the member is gone, and returns how many keys it has
// acknowledged.
func fill(t *testing.T, h home, value func(int) string, names string) int {
	t.Helper()
	p := h.start(t)
	client := p.client(t)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for key := range 4000 {
		if _, err := client.Put(ctx, fmt.Sprint(key), value(key)); err != nil {
			refused(t, h, p, names)
			return key
		}
	}
	t.Fatal("the disk took everything")
	return 0
}

// tryAgain starts a member on the full disk. It may go on with the room that
// it gives back itself, but if not it must say so.
func tryAgain(t *testing.T, h home) {
	t.Helper()
	p := h.launch(t)
	if p.await(t) {
		t.Log("it has made room for itself")
		p.kill()
		return
	}
	refused(t, h, p)
}

// refused waits for the end of a member on a full disk, and for its last line.
func refused(t *testing.T, h home, p *process, names ...string) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("cleatd goes on; it said:\n%s", p.said())
	}
	said := strings.Split(strings.TrimSpace(p.said()), "\n")
	last := said[len(said)-1]
	t.Log(last)
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	for _, want := range append(names, "cleatd: ", "no space left on device", "make room on the disk of "+h.dir) {
		if !strings.Contains(last, want) {
			t.Errorf("the last line is %q, want %q in it", last, want)
		}
	}
}

// holds checks every key that was acknowledged, and that more can be written.
func holds(t *testing.T, h home, acknowledged int, value func(int) string) {
	t.Helper()
	p := h.start(t)
	client := p.client(t)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for key := range acknowledged {
		r, err := client.Get(ctx, fmt.Sprint(key))
		if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != value(key) || r.Kvs[0].ModRevision != int64(key+2) {
			t.Fatalf("key %d, which was acknowledged: %v", key, err)
		}
	}
	r, err := client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || r.Count > int64(acknowledged)+1 {
		t.Errorf("%d keys, %v; %d were acknowledged and one was under way", r.Count, err, acknowledged)
	}
	if _, err := client.Put(ctx, "more", "x"); err != nil {
		t.Error(err)
	}
	t.Logf("%d writes were acknowledged before the disk was full", acknowledged)
}
