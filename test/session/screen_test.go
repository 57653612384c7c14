// SPDX-License-Identifier: Apache-2.0

package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// found are the faults that cleatctl doctor names, and the checks that it made.
func (m member) found(t *testing.T) (faults []string, checks map[string]bool) {
	t.Helper()
	stdout, stderr, _ := m.ctl(t, "doctor --json")
	var told struct {
		Findings []struct{ Check, Grade, What, Mend string }
	}
	if err := json.Unmarshal([]byte(stdout), &told); err != nil {
		t.Fatalf("%v: %q, %q", err, stdout, stderr)
	}
	checks = map[string]bool{}
	for _, f := range told.Findings {
		if f.Grade == "fault" {
			faults = append(faults, f.Check+": "+f.What+": "+f.Mend)
		}
		if f.Grade != "skipped" {
			checks[f.Check] = true
		}
	}
	return faults, checks
}

// process is where the member's data is, and who to end.
func (m member) process(t *testing.T) (pid int, dir string) {
	t.Helper()
	stdout, _, _ := m.ctl(t, "status --json")
	var told struct {
		Process struct {
			Pid     string // a number of 64 bits, which JSON has as text
			DataDir string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &told); err != nil {
		t.Fatalf("%v: %q", err, stdout)
	}
	pid, err := strconv.Atoi(told.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return pid, told.Process.DataDir
}

// endProcess stops a member in order; start waits for it.
func endProcess(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func TestStatusAndDoctorSeeTheClusterAndWhatIsWrong(t *testing.T) {
	one, two := startCleatd(t, append(reachable, "--name=one")...), startCleatd(t, append(reachable, "--name=two")...)
	join, address := one.invite(t, "")
	two.must(t, join+" "+address)
	eventually(t, "both are well", func() error {
		status, why, ok := one.ctl(t, "status")
		if !ok || strings.Count(status, "  voter ")+strings.Count(status, "  leader ") != 2 || !strings.Contains(status, "2 voters survive the loss of 0") {
			return fmt.Errorf("%s%s", status, why)
		}
		return nil
	})
	faults, checks := two.found(t)
	if len(faults) > 0 {
		t.Errorf("of a member that is well: %q", faults)
	}
	for _, check := range []string{"configuration", "directory", "disk", "memory", "files", "certificates", "ports", "version"} {
		if !checks[check] {
			t.Errorf("%s was not looked at", check)
		}
	}
	pid, dir := two.process(t)
	key := filepath.Join(dir, "pki", "cluster.key")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(key, 0o644)); err != nil {
		t.Fatal(err)
	}
	faults, _ = two.found(t)
	if all := strings.Join(faults, "\n"); len(faults) != 2 || !strings.Contains(all, "chmod 0700 "+dir) || !strings.Contains(all, "chmod 0600 "+key) {
		t.Errorf("of a directory for all: %q", faults)
	}

	endProcess(t, pid)
	eventually(t, "the other is missed", func() error {
		status, why, ok := one.ctl(t, "status")
		if ok || !strings.Contains(status, "no leader is known") || !strings.Contains(status, " is not reached from here (") || why == "" {
			return fmt.Errorf("%s%s", status, why)
		}
		return nil
	})
	faults, _ = two.found(t)
	if len(faults) == 0 || !strings.HasPrefix(faults[0], "member: the member does not answer") {
		t.Errorf("of a member that is down: %q", faults)
	}
}
