// SPDX-License-Identifier: Apache-2.0

package session

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Leaders of both kinds follow one another, and watchers of both kinds are told
// the same of them.
func TestCleatctlAndEtcdctlStandInOneElection(t *testing.T) {
	t.Parallel()
	for server, clients := range servers(t) {
		ours, theirs := clients[0], clients[1]
		watchers := []*holder{ours.hold(t, "elect", "-l", "name"), theirs.hold(t, "elect", "name", "-l")}
		json := []*holder{ours.hold(t, "elect", "-l", "name", "-w", "json"), theirs.hold(t, "elect", "-l", "name", "-w", "json")}
		one := ours.hold(t, "elect", "name", "one")
		one.says(t, `^name/[0-9a-f]+\none\n$`)
		for _, each := range watchers {
			each.says(t, `^name/[0-9a-f]+\none\n$`)
		}
		two := theirs.hold(t, "elect", "name", "two")
		ours.waiting(t, 2)
		never := ours.hold(t, "elect", "name", "never")
		ours.waiting(t, 3)
		end(t, never, syscall.SIGINT, 1)
		ours.waiting(t, 2)
		end(t, one, syscall.SIGTERM, 0)
		two.says(t, `^name/[0-9a-f]+\ntwo\n$`)
		for _, each := range watchers {
			each.says(t, `^name/[0-9a-f]+\none\nname/[0-9a-f]+\ntwo\n$`)
			_ = each.Process.Signal(syscall.SIGINT)
			if code := each.ends(); code != 0 {
				t.Errorf("%s: %q ends with %d: %s", server, each.Args, code, each.stderr)
			}
		}
		end(t, two, syscall.SIGINT, 0)
		if a, b := watchers[0].stdout.String(), watchers[1].stdout.String(); a != b {
			t.Errorf("%s: cleatctl prints %q, etcdctl %q", server, a, b)
		}
		for _, each := range json {
			each.says(t, `(?s)"key".*\n.*"key".*\n`)
		}
		if a, b := heads.ReplaceAllString(json[0].stdout.String(), ""), heads.ReplaceAllString(json[1].stdout.String(), ""); a != b || !strings.Contains(a, "kvs") {
			t.Errorf("%s: cleatctl prints %q, etcdctl %q", server, a, b)
		}
	}
}

// heads are the headers of JSON answers, whose revision is that of the moment.
var heads = regexp.MustCompile(`"header":\{[^}]*\},`)
