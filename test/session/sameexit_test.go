// SPDX-License-Identifier: Apache-2.0

package session

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// failing are commands that the member refuses, or that find no member. Scripts
// look at the number.
func failing() []step {
	all := []step{
		{line: "get none"}, {line: "del none"}, {line: "lease timetolive 123"}, // which is no failure
		{line: "get a --rev=2"}, {line: "get a --rev=99"}, {line: "get '' --prefix --stream --rev=99"},
		{line: "get ''"}, {line: "del ''"}, {line: "put '' x"},
		{line: "put a b --lease=123"}, {line: "put none --ignore-value"}, {line: "put none x --ignore-lease"},
		{line: "compaction 3"}, {line: "compaction 99"}, {line: "compaction 99 --physical"},
		{line: "lease grant 99999999999"}, {line: "lease revoke 123"},
		{line: "endpoint hashkv --rev 99"},
		{line: "member add x --peer-urls=nonsense"}, {line: "member remove 123"}, {line: "member promote 123"},
		{line: "member update 123 --peer-urls=http://x:1"}, {line: "move-leader 123"},
		{line: "downgrade validate 3.7"}, {line: "downgrade enable 4.0"}, {line: "downgrade enable nonsense"}, {line: "downgrade cancel"}, // where none is under way
		{line: "lock a -- false"}, {line: "lock a -- /no/such/program"}, {line: "lock a -- true"},
		{line: "txn", stdin: "\nput a 1\nput a 2\n\n\n"}, {line: "txn", stdin: "\nput a 1 --lease=123\n\n\n"},
	}
	for _, line := range []string{"get a", "put a b", "del a", "endpoint status", "endpoint health", "endpoint hashkv", "member list", "compaction 4",
		"alarm list", "alarm disarm", "defrag", "downgrade cancel"} {
		all = append(all, step{line: line + " --endpoints=DEAD --command-timeout=500ms --dial-timeout=500ms"})
	}
	return all
}

// misused are commands that both refuse before any call. etcdctl has 128, 4
// and 1 for that, cleatctl has 2.
func misused() []step {
	var all []step
	for _, line := range []string{
		"get", "put", "put a", "del", "del a b c", "compaction", "compaction 1 2", "compaction x", "watch", "lease grant", "lease grant x",
		"lease revoke", "lease revoke zz", "lease timetolive", "lease timetolive zz", "lease keep-alive", "lease keep-alive zz",
		"member add", "member add x", "member remove", "member remove zz", "member update 123", "member update zz --peer-urls=http://x:1",
		"member promote", "member promote zz", "move-leader", "move-leader zz", "txn x", "nonsense", "--nonsense", "get a --nonsense",
		"get a -w nonsense", "get a --order=SIDEWAYS", "get a --sort-by=X", "get a --consistency=x", "get a --rev=zz", "watch a --rev=zz", "get a --command-timeout=zz",
		"alarm list x", "alarm disarm x", "downgrade validate", "downgrade enable", "downgrade enable 3.6 3.5", "lock", "lock a --ttl=zz", "elect", "elect a", "elect a b c", "elect a b -l",
		"make-mirror", "make-mirror a b", "make-mirror DEAD --prefix=a --dest-prefix=b --no-dest-prefix", "make-mirror DEAD --rev=zz", "check perf --load=huge", "check datascale --load=huge",
		"get a --prefix --from-key", "del a --prefix --from-key", "put a b --lease=zz", "put a b --ignore-value",
	} {
		all = append(all, step{line: line})
	}
	return append(all,
		step{line: "txn", stdin: "nonsense\n\n\n\n"}, step{line: "txn", stdin: "\nnonsense\n\n\n"},
		step{line: "txn", stdin: "ver(\"a\") ? \"1\"\n\n\n\n"}, step{line: "txn", stdin: "\nput a\n\n\n"})
}

// overlooked are words too many, which etcdctl passes over.
func overlooked() []step {
	return []step{{line: "get a b c"}, {line: "put a b c"}, {line: "lease nonsense"}, {line: "endpoint nonsense"}, {line: "member list x"},
		{line: "options x"}, {line: "defrag x"}, {line: "alarm nonsense"}, {line: "check nonsense"}}
}

func TestCleatctlFailsWhereEtcdctlFails(t *testing.T) {
	first, second := twins(t)
	theirs := &side{path: program(t, etcdctl), endpoint: first}
	ours := &side{path: program(t, cleatctl), endpoint: second}
	for _, s := range []step{{line: "put a 1"}, {line: "put a 2"}, {line: "put a 3"}, {line: "compaction 3"}} {
		ours.run(t, s)
		theirs.run(t, s)
	}
	dead := freeAddress(t)
	compare := func(kind string, all []step, alike func(ours, theirs int) bool) {
		for _, s := range all {
			s.line = strings.ReplaceAll(s.line, "DEAD", dead)
			got, said := ours.exit(t, s)
			want, told := theirs.exit(t, s)
			if !alike(got, want) {
				t.Errorf("%s: %s\n%s\ncleatctl ends with %d: %s\n etcdctl ends with %d: %s", kind, s.line, s.stdin, got, said, want, told)
			}
		}
	}
	compare("failing", failing(), func(ours, theirs int) bool { return ours == theirs })
	compare("misused", misused(), func(ours, theirs int) bool { return ours == 2 && theirs != 0 })
	compare("overlooked", overlooked(), func(ours, theirs int) bool { return ours == 2 && theirs == 0 })
	compare("ended by the member", []step{{line: "lease keep-alive --once 123"}, {line: "watch a --rev=2"}},
		func(ours, theirs int) bool { return ours == 1 && theirs > 1 })
}

// exit returns the code that a command ends with, and what it says of it.
func (s *side) exit(t *testing.T, each step) (code int, said string) {
	t.Helper()
	var args []string
	if !strings.Contains(each.line, "--endpoints") {
		args = append(args, "--endpoints="+s.endpoint)
	}
	for _, word := range strings.Fields(each.line) {
		args = append(args, strings.ReplaceAll(word, "''", ""))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, s.path, args...)
	command.Stdin = strings.NewReader(each.stdin)
	command.WaitDelay = time.Second
	var out bytes.Buffer
	command.Stderr = &out
	if err := command.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatalf("%s: %v", filepath.Base(s.path), err)
	}
	return command.ProcessState.ExitCode(), out.String()
}
