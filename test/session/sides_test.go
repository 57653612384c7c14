// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"testing"
)

// holder is a client that runs until it is told to end.
type holder struct {
	*exec.Cmd
	stdout, stderr *output
}

func (s *side) hold(t *testing.T, args ...string) *holder {
	t.Helper()
	h := &holder{exec.Command(s.path, append([]string{"--endpoints=" + s.endpoint}, args...)...), &output{}, &output{}}
	h.Stdout, h.Stderr = h.stdout, h.stderr
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Process.Kill(); _ = h.Wait() })
	return h
}

// ends waits for the end and returns the exit code.
func (h *holder) ends() int {
	_ = h.Wait()
	return h.ProcessState.ExitCode()
}

// says waits for a text on stdout.
func (h *holder) says(t *testing.T, pattern string) {
	t.Helper()
	eventually(t, fmt.Sprint(h.Args), func() error {
		if !regexp.MustCompile(pattern).MatchString(h.stdout.String()) {
			return fmt.Errorf("stdout is %q, stderr %q, want %s", h.stdout, h.stderr, pattern)
		}
		return nil
	})
}

// servers are cleatd and etcd, each as both clients see it.
func servers(t *testing.T) map[string][2]*side {
	t.Helper()
	all := map[string][2]*side{}
	for name, endpoint := range map[string]string{"cleatd": "unix://" + startCleatd(t).socket, "etcd": startEtcd(t)} {
		all[name] = [2]*side{{path: program(t, cleatctl), endpoint: endpoint}, {path: program(t, etcdctl), endpoint: endpoint}}
	}
	return all
}

func oursAtCleatd(t *testing.T) *side {
	t.Helper()
	return &side{path: program(t, cleatctl), endpoint: "unix://" + startCleatd(t).socket}
}

// claims are keys of locks and elections, the revisions and IDs with them.
var claims = regexp.MustCompile(`\b(name/)[0-9a-f]+|(_REV=|Revision" : |_revision":|"revision":|"Lease" : |"lease":|"key":")[^,}\n]+`)

// ran is what a command prints, and the code that it ends with.
func (s *side) ran(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(s.path, append([]string{"--endpoints=" + s.endpoint}, args...)...).Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	code := 0
	if ended != nil {
		code = ended.ExitCode()
	}
	return claims.ReplaceAllString(string(out), "${1}${2}X") + fmt.Sprintf("(%d)", code)
}
