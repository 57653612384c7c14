// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func mustOpenDir(t *testing.T, path string) *dataDir {
	t.Helper()
	d, err := openDataDir(path, "wal")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestADataDirectoryKeepsItsIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	first := mustOpenDir(t, path)
	if !first.fresh || first.clusterID() == 0 || first.memberID() == 0 {
		t.Errorf("new directory: %+v", first)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpenDir(t, path)
	if again.fresh || again.member != first.member {
		t.Errorf("reopened as %+v, was %+v", again.member, first.member)
	}
}

func TestADataDirectoryThatDoesNotFitIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string)
		want  string
	}{
		"in use": {func(t *testing.T, path string) { mustOpenDir(t, path) }, "in use by another process (pid "},
		"another raft log": {func(t *testing.T, path string) {
			member(t, path, `{"format":1,"cluster_id":"1","member_id":"2","raft_log":"boltdb"}`)
		}, `made with raft-log = "boltdb", the setting is "wal"`},
		"a newer format": {func(t *testing.T, path string) {
			member(t, path, `{"format":9,"cluster_id":"1","member_id":"2","raft_log":"wal"}`)
		}, "has format 9, this cleatd knows 1"},
		"no id": {func(t *testing.T, path string) {
			member(t, path, `{"format":1,"cluster_id":"x","member_id":"2","raft_log":"wal"}`)
		}, "is damaged"},
		"cut":        {func(t *testing.T, path string) { member(t, path, `{"format":1`) }, "is damaged"},
		"half a one": {func(t *testing.T, path string) { mkdir(t, filepath.Join(path, "raft")) }, "but no member.json"},
		"not one":    {func(t *testing.T, path string) { mkdir(t, filepath.Dir(path)); write(t, path, "") }, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data")
			c.spoil(t, path)
			_, err := openDataDir(path, "wal")
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want ErrConfig with %q", err, c.want)
			}
		})
	}
}

func TestARefusedDirectoryIsFreeAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	if err := mustOpenDir(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(path, "boltdb"); err == nil {
		t.Fatal("opened with the wrong log")
	}
	mustOpenDir(t, path)
}

func TestTheSocketOfADeadDaemonIsReplacedAndALiveOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "cleat.sock")
	live, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a live socket: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// A killed daemon closes its listener without unlinking the file.
	live.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := listenUnix(path)
	if err != nil {
		t.Fatalf("a dead socket: %v", err)
	}
	_ = again.Close()
	write(t, filepath.Join(filepath.Dir(path), "file"), "precious")
	if _, err := listenUnix(filepath.Join(filepath.Dir(path), "file")); !errors.Is(err, ErrConfig) {
		t.Errorf("a file in the way: %v", err)
	}
}

func TestTheReserveFollowsTheDisk(t *testing.T) {
	for _, c := range []struct{ setting, total, want int64 }{
		{-1, 1 << 30, 256 << 20},
		{-1, 20 << 30, 1 << 30},
		{-1, 1 << 40, 2 << 30},
		{0, 1 << 40, 0},
		{5, 1 << 40, 5},
	} {
		if got := reserveFor(c.setting, c.total); got != c.want {
			t.Errorf("reserve %d of %d bytes: %d, want %d", c.setting, c.total, got, c.want)
		}
	}
}

func member(t *testing.T, path, text string) {
	t.Helper()
	mkdir(t, path)
	write(t, filepath.Join(path, "member.json"), text)
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
