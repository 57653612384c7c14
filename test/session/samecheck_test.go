// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// figures are what differs from run to run.
var figures = regexp.MustCompile(`\d+\.\d+|\d+ writes|revision \d+|-\d+\.\d+`)

// verdicts are etcdctl's, with the one that the last line must be then.
var verdicts = regexp.MustCompile(`^(PASS: Throughput is X/s|FAIL: Throughput too low: X/s)
(PASS: Slowest request took Xs|Slowest request took too long: Xs)
(PASS: Stddev is Xs|Stddev too high: Xs)
(PASS|FAIL)
$`)

func figureless(text string) string { return figures.ReplaceAllString(text, "X") }

// How fast the machine is that runs this is not the test's business.
func TestCheckPerfJudgesAndTidiesUp(t *testing.T) {
	t.Parallel()
	ours := oursAtCleatd(t)
	h := ours.hold(t, "check", "perf", "--duration=3s", "--auto-compact", "--auto-defrag")
	code := h.ends()
	out := figureless(h.stdout.String())
	tidied := "Compacting with X\nCompacted with X\nDefragmenting \"" + ours.endpoint + "\"\nDefragmented \"" + ours.endpoint + "\"\n"
	found := verdicts.FindStringSubmatch(strings.TrimPrefix(out, tidied))
	if !strings.HasPrefix(out, tidied) || found == nil {
		t.Fatalf("code %d, %s, %s", code, out, h.stderr)
	}
	passed := strings.Count(out, "PASS: ") == 3
	if passed != (code == 0) || passed != (found[4] == "PASS") {
		t.Errorf("code %d: %s", code, out)
	}
	if left := ours.ran(t, "get", "/etcdctl-check-perf/", "--prefix", "--keys-only"); left != "(0)" {
		t.Errorf("there is %q", left)
	}
}

func TestAnInterruptedCheckTidiesUp(t *testing.T) {
	t.Parallel()
	ours := oursAtCleatd(t)
	for _, check := range [][]string{{"check", "perf", "--prefix", "name/"}, {"check", "datascale", "--prefix", "name/", "--load=m"}} {
		h := ours.hold(t, check...)
		eventually(t, "keys of the check", func() error {
			if ours.ran(t, "get", "name/", "--prefix", "--limit=1", "--keys-only") == "(0)" {
				return errors.New("there is none yet")
			}
			return nil
		})
		if got, want := ours.ran(t, check...), "(1)"; got != want { // there are keys
			t.Errorf("a second check prints %s", got)
		}
		if err := h.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := h.ends(); code != 1 || !strings.Contains(h.stderr.String(), "interrupted") {
			t.Errorf("%q ends with %d: %s %s", check, code, h.stdout, h.stderr)
		}
		if left := ours.ran(t, "get", "name/", "--prefix", "--keys-only"); left != "(0)" {
			t.Errorf("there is %q", left)
		}
	}
}

func TestCheckDatascaleSaysWhatEtcdctlSays(t *testing.T) {
	t.Parallel()
	all := servers(t)
	var said []string
	for _, each := range []*side{all["etcd"][0], all["etcd"][1], all["cleatd"][0]} {
		out := each.ran(t, "check", "datascale", "--auto-compact", "--auto-defrag")
		said = append(said, figureless(strings.ReplaceAll(out, each.endpoint, "HERE")))
		if left := each.ran(t, "get", "/etcdctl-check-datascale/", "--prefix", "--keys-only"); left != "(0)" {
			t.Errorf("%s leaves %q", each.path, left)
		}
	}
	if said[0] != said[1] || said[2] != said[1] || !strings.HasSuffix(said[1], "(0)") {
		t.Errorf("cleatctl says\n%s\netcdctl\n%s\ncleatctl of cleatd\n%s", said[0], said[1], said[2])
	}
}

// What each says of the machine may differ. etcdctl's check takes a minute
// whatever one says, so it runs with -letter only.
func TestCheckPerfSaysWhatEtcdctlSays(t *testing.T) {
	t.Parallel()
	both := servers(t)["etcd"]
	ours, theirs := both[0], both[1]
	checks := map[*side][]string{ours: {"check", "perf", "--auto-compact", "--duration=2s"}}
	if *letter {
		checks = map[*side][]string{ours: {"check", "perf", "--auto-compact"}, theirs: {"check", "perf", "--auto-compact"}}
	}
	for each, line := range checks {
		h := each.hold(t, line...)
		code := h.ends()
		out := strings.TrimPrefix(figureless(h.stdout.String()), "Compacting with X\nCompacted with X\n")
		found := verdicts.FindStringSubmatch(out)
		if found == nil || (found[4] == "PASS") != (code == 0) {
			t.Errorf("%s ends with %d: %s", each.path, code, out)
		}
	}
}
