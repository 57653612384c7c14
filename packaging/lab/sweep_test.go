// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sweep removes whatever any run has made and nobody uses, since this run has
// the lock: machines with all of their processes, mounts, networks, files.
func sweep() error {
	groups, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range groups {
		err = errors.Join(err, dissolve(filepath.Join(h, mark)))
	}
	err = errors.Join(err, unmountAll())
	spaces, lerr := filepath.Glob("/run/netns/" + mark + "-*")
	err = errors.Join(err, lerr)
	for _, space := range spaces {
		if said, derr := exec.Command("ip", "netns", "del", filepath.Base(space)).CombinedOutput(); derr != nil {
			err = errors.Join(err, fmt.Errorf("ip netns del %s: %w: %s", space, derr, said))
		}
	}
	left, lerr := filepath.Glob("/run/systemd/nspawn/*/" + mark + "-*") // by an nspawn that was killed
	err = errors.Join(err, lerr)
	for _, path := range append(left, work()) {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// hierarchies are where control groups are made: that of version 2, and where
// it is beside those of version 1 also systemd's own, without which a machine
// would find itself in its host's group.
func hierarchies() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var unified, named []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case f[2] == "cgroup2":
			unified = append(unified, f[1])
		case f[2] == "cgroup" && slices.Contains(strings.Split(f[3], ","), "name=systemd"):
			named = append(named, f[1])
		}
	}
	if len(unified) == 0 {
		return nil, errors.New("machines need control groups of version 2, and none are mounted: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified")
	}
	if err := syscall.Access(unified[0], 2); err != nil {
		return nil, fmt.Errorf("machines need control groups of their own below %s (%w): mount -o remount,rw %[1]s", unified[0], err)
	}
	return append(unified[:1], named...), nil
}

// dissolve kills all that is in a control group and below, and removes them.
func dissolve(group string) error {
	if _, err := os.Stat(group); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// Only groups of version 2 have the file; machines are in those, too.
	if err := os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("kill what is in %s: %w", group, err)
	}
	var below []string
	if err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			below = append(below, path)
		}
		return err
	}); err != nil {
		return err
	}
	slices.Reverse(below)
	for _, path := range below {
		if err := vacate(path); err != nil {
			return err
		}
	}
	return nil
}

// vacate removes a control group once the dead have left it.
func vacate(group string) error {
	late := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := os.Remove(group)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			return err
		}
		select {
		case <-late:
			return err
		case <-tick.C:
		}
	}
}

// unmountAll unmounts what a run has mounted, by its name in the first field.
func unmountAll() error {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var places []string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == mark {
			places = append(places, f[1])
		}
	}
	slices.Reverse(places)
	for _, place := range places {
		err = errors.Join(err, unmount(place))
	}
	return err
}

func unmount(place string) error {
	if err := syscall.Unmount(place, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", place, err)
	}
	return nil
}
