// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// history is what the watches below are shown, on both sides alike.
var history = []step{
	{line: "put w0 one"}, {line: "put w0 two\x01"}, {line: "put w1 x"}, {line: "del w --prefix"},
	{line: "txn", stdin: "\nput w2 a\nput w3 b\n\n\n"}, {line: "put z end"},
}

func TestCleatctlPrintsEtcdctlsBytesOfWatches(t *testing.T) {
	first, second := twins(t)
	theirs := &side{path: program(t, etcdctl), endpoint: first}
	ours := &side{path: program(t, cleatctl), endpoint: second}
	for _, s := range history {
		if got, want := ours.run(t, s), theirs.run(t, s); got != want {
			t.Fatalf("%s: cleatctl %q, etcdctl %q", s.line, got, want)
		}
	}
	const show = `env | grep ETCD_WATCH | sort`
	for _, s := range []step{
		{line: "watch w --prefix --rev=1"},
		{line: "watch --rev 1 w0 w2"},
		{line: "watch w --prefix --rev=1 --prev-kv --hex"},
		{line: "watch w --prefix --rev=1 --prev-kv -w fields"},
		{line: "watch w --prefix --rev=1 --prev-kv -w json"},
		{line: "watch w --prefix --rev=1 --prev-kv -w protobuf"},
		{line: "watch w0 --rev=2 -w fields --hex"},
		{line: "watch -i", stdin: "watch w --prefix --rev=1 --prev-kv\n"},
		{line: "watch -i -w json", stdin: "nonsense\n\nwatch 'w0' \"w2\" --rev=3\n"},
		{line: "watch w --prefix --rev=1 -- sh -c", stdin: show},
		{line: "watch w0 --rev=1 -w json -- sh -c", stdin: show},
	} {
		want := theirs.watch(t, s)
		got := ours.watch(t, s)
		eventually(t, s.line, func() error {
			if got.String() == "" || got.String() != want.String() {
				return fmt.Errorf("cleatctl prints %q, etcdctl %q", got, want)
			}
			return nil
		})
	}
}

// watch starts a side's watch, which the end of the test ends. What stands
// behind "sh -c" has spaces and comes in stdin.
func (s *side) watch(t *testing.T, each step) *output {
	t.Helper()
	args := append([]string{"--endpoints=" + s.endpoint}, strings.Fields(each.line)...)
	if strings.HasSuffix(each.line, "sh -c") {
		args, each.stdin = append(args, each.stdin), ""
	}
	command := exec.CommandContext(t.Context(), s.path, args...)
	said := &output{}
	command.Stdout = said
	input, err := command.StdinPipe() // stays open: its end would end the watch
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = input.Close(); _ = command.Wait() })
	if _, err := io.WriteString(input, each.stdin); err != nil {
		t.Fatal(err)
	}
	return said
}
