// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A script that was written for etcdctl says the same with cleatctl in its
// place, at cleatd's socket and at etcd.
func TestAScriptThatWorkedWithEtcdctlWorks(t *testing.T) {
	t.Parallel()
	for server, start := range map[string]func() string{
		"cleatd": func() string { return "unix://" + startCleatd(t, "--bcrypt-cost=4").socket },
		"etcd":   func() string { return startEtcd(t) },
	} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			want := worked(t, etcdctl, start())
			if got := worked(t, cleatctl, start()); got != want {
				t.Errorf("with cleatctl it says\n%s\nwith etcdctl\n%s", got, want)
			}
		})
	}
}

// worked runs the script with a client called etcdctl, and returns what it says.
func worked(t *testing.T, client, endpoint string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(program(t, client), filepath.Join(dir, "etcdctl")); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "worked.sh"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "bash", script)
	command.Env = append(os.Environ(), "WORK="+dir, "PATH="+dir+":"+os.Getenv("PATH"), "ETCDCTL_ENDPOINTS="+endpoint, "ETCDCTL_DIAL_TIMEOUT=20s", "ETCDCTL_COMMAND_TIMEOUT=20s")
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if text := string(out); err != nil || !strings.HasSuffix(text, "== done\n") {
		t.Fatal(fmt.Errorf("%s: %w\n%s\n%s", client, err, text, &stderr))
	}
	return string(out)
}
