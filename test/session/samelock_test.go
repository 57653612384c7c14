// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestCleatctlRunsCommandsUnderALockAsEtcdctlDoes(t *testing.T) {
	t.Parallel()
	for server, clients := range servers(t) {
		for _, args := range [][]string{
			{"lock", "name", "env"}, // what it has in its environment is looked at below
			{"lock", "name", "--ttl", "5", "--", "sh", "-c", "env | grep ETCD_LOCK | sort; echo told >&2; exit 3"},
			{"lock", "name", "--", "sh", "-c", "kill -9 $$"},
			{"lock", "name", "true"}, {"lock", "name", "false"}, {"lock", "name", "/no/such/program"},
			{"lock", "name", "--", "cat"}, // there is nothing on stdin
			{"get", "name", "--prefix", "--keys-only"},
		} {
			got, want := clients[0].ran(t, args...), clients[1].ran(t, args...)
			if args[len(args)-1] == "env" {
				got, want = lines(got, "ETCD_LOCK"), lines(want, "ETCD_LOCK")
			}
			if got != want || want == "" {
				t.Errorf("%s: %q\ncleatctl: %s\n etcdctl: %s", server, args, got, want)
			}
		}
	}
}

// lines are those with a word.
func lines(text, word string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// One holds the lock and another, of either kind, waits for it.
func TestLocksExcludeBothClients(t *testing.T) {
	t.Parallel()
	for server, clients := range servers(t) {
		for i, form := range []string{"simple", "fields", "json"} {
			first, second := clients[i%2], clients[(i+1)%2]
			holds := first.hold(t, "lock", "name", "-w", form)
			holds.says(t, `\n`)
			waits := second.hold(t, "lock", "name", "-w", form)
			clients[0].waiting(t, 2)
			gives := clients[0].hold(t, "lock", "name", "-w", form)
			clients[0].waiting(t, 3)
			end(t, gives, syscall.SIGINT, 1) // who waits and is told to end leaves nothing behind
			clients[0].waiting(t, 2)
			if waits.stdout.String() != "" {
				t.Errorf("%s: both have the lock: %s %s", server, holds.stdout, waits.stdout)
			}
			end(t, holds, syscall.SIGTERM, 0)
			waits.says(t, `\n`)
			end(t, waits, syscall.SIGINT, 0)
			one, other := claims.ReplaceAllString(holds.stdout.String(), "${1}${2}X"), claims.ReplaceAllString(waits.stdout.String(), "${1}${2}X")
			if one != other || !strings.Contains(one, "X") {
				t.Errorf("%s, -w %s: one prints %q, the other %q", server, form, one, other)
			}
			clients[0].waiting(t, 0)
		}
	}
}

func end(t *testing.T, h *holder, signal os.Signal, want int) {
	t.Helper()
	if err := h.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if code := h.ends(); code != want {
		t.Errorf("%q ends with %d, not %d: %s", h.Args, code, want, h.stderr)
	}
	if strings.HasSuffix(h.Path, "cleatctl") && !strings.Contains(h.stderr.String(), "interrupted") {
		t.Errorf("%q does not say so: %q", h.Args, h.stderr)
	}
}

// waiting waits until there are so many keys of the lock.
func (s *side) waiting(t *testing.T, n int) {
	t.Helper()
	eventually(t, "the lock's keys", func() error {
		out := s.ran(t, "get", "name", "--prefix", "--keys-only")
		if got := strings.Count(out, "name/"); got != n {
			return fmt.Errorf("there are %d, not %d: %s", got, n, out)
		}
		return nil
	})
}

// A command that is told to end does, and the lock is free when it has.
func TestALockIsFreeWhenItsCommandWasTerminated(t *testing.T) {
	t.Parallel()
	ours := oursAtCleatd(t)
	h := ours.hold(t, "lock", "name", "--", "sh", "-c", "trap 'echo tidied; exit 7' TERM; echo runs; while :; do read -t 1 x <$0 || :; done", pipe(t))
	h.says(t, "runs")
	if err := h.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := h.ends(); code != 7 || !strings.Contains(h.stdout.String(), "tidied") || !strings.Contains(h.stderr.String(), "gives name/") {
		t.Errorf("code %d, %s, %s", code, h.stdout, h.stderr)
	}
	ours.waiting(t, 0)
}

// pipe is one in which nothing ever comes.
func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = open.Close() })
	return path
}

// A lock that was lost while the command ran is no success.
func TestALockThatIsLostIsToldOf(t *testing.T) {
	t.Parallel()
	ours := oursAtCleatd(t)
	path := pipe(t)
	held := ours.hold(t, "lock", "name")
	held.says(t, "name/")
	ours.ran(t, "lease", "revoke", strings.TrimPrefix(strings.TrimSpace(held.stdout.String()), "name/"))
	if code := held.ends(); code != 1 || !strings.Contains(held.stderr.String(), "was lost") {
		t.Errorf("code %d, %s", code, held.stderr)
	}
	run := ours.hold(t, "lock", "name", "--", "sh", "-c", "echo $ETCD_LOCK_KEY; read x <$0", path)
	run.says(t, "name/")
	lease := strings.TrimPrefix(strings.TrimSpace(run.stdout.String()), "name/")
	ours.ran(t, "lease", "revoke", lease)
	eventually(t, "the holder learns of it", func() error {
		if !strings.Contains(run.stderr.String(), "lost") {
			return fmt.Errorf("it says %q", run.stderr)
		}
		return nil
	})
	writeLine(t, path)
	if code := run.ends(); code != 1 {
		t.Errorf("code %d, %s", code, run.stderr)
	}
}

func writeLine(t *testing.T, path string) {
	t.Helper()
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "go on\n"); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
}
