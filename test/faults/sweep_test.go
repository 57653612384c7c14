// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// ownPrefix begins the names of namespaces and directories that a test makes.
// The number of its process follows.
const ownPrefix = "cleat-faults-"

// sweep removes the namespaces and disks that tests have left which were
// killed. What a failed test has kept stays: it is mounted no more.
func sweep(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(ip(t, "netns", "list")) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); abandoned(name) {
			_ = exec.Command("ip", "netns", "del", name).Run() // another test may have been faster
		}
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		dir := filepath.Dir(fields[1])
		if !abandoned(filepath.Base(dir)) {
			continue
		}
		_ = syscall.Unmount(fields[1], syscall.MNT_DETACH) // likewise
		_ = os.RemoveAll(dir)                              // the last of its mounts lets it go
	}
}

// abandoned says whether something is named after a process that is no more.
func abandoned(name string) bool {
	rest, ours := strings.CutPrefix(name, ownPrefix)
	pid, _, _ := strings.Cut(rest, "-")
	if !ours {
		return false
	}
	_, err := os.Stat("/proc/" + pid)
	return os.IsNotExist(err)
}
