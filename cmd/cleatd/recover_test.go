// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cleatd/cleat/daemon"
	"github.com/cleatd/cleat/state"
)

func TestARecoveryTellsWhatMayBeLost(t *testing.T) {
	const want = `Member 0000000000000abc is a cluster of its own now, 0000000000000def, at revision 7: start it.
The last 2 entries of its log count; they were not known to be agreed upon.
What these had acknowledged and it had not heard of is lost. They are no members any more;
empty their data directories before they join again:
  0000000000000001  one
  0000000000000002  two
`
	said := new(strings.Builder)
	tell(said, daemon.Recovered{
		Cluster: 0xdef, Member: 0xabc, Revision: 7, Unconfirmed: 2,
		Others: []state.Member{{ID: 1, Name: "one"}, {ID: 2, Name: "two"}},
	})
	if said.String() != want {
		t.Errorf("%s\nwant\n%s", said, want)
	}
	said.Reset()
	tell(said, daemon.Recovered{Cluster: 0xdef, Member: 0xabc, Revision: 7})
	if strings.Count(said.String(), "\n") != 1 {
		t.Errorf("of a member that was alone: %s", said)
	}
}

func TestRecoverIsForcedAndSaysWhatItDid(t *testing.T) {
	dir := t.TempDir()
	data := []string{"--data-dir", filepath.Join(dir, "data")}
	recovery := func(more ...string) *process {
		return launch(t, nil, os.Args[0], append(append([]string{"recover"}, data...), more...)...)
	}
	for name, c := range map[string]struct {
		flags []string
		want  string
	}{
		"nothing there": {[]string{"--force-new-cluster"}, "there is no member to recover"},
		"not forced":    {nil, "give --force-new-cluster"},
		"an argument":   {[]string{"--force-new-cluster", "now"}, `unexpected argument "now"`},
		"a flag":        {[]string{"--forse"}, "forse"},
	} {
		p := recovery(c.flags...)
		if code := p.code(); code != 2 || !strings.Contains(p.said(), c.want) {
			t.Errorf("%s: code %d and %q, want 2 and %q", name, code, p.said(), c.want)
		}
	}

	p := start(t, dir, nil).ready()
	if _, err := p.client().Put(limited(t), "foo", "bar"); err != nil {
		t.Fatal(err)
	}
	if running := recovery("--force-new-cluster"); running.code() != 2 || !strings.Contains(running.said(), "in use by another process") {
		t.Errorf("recover a member that runs: %q", running.said())
	}
	if code := p.end(syscall.SIGKILL); code != -1 {
		t.Fatalf("code %d", code)
	}
	done := recovery("--force-new-cluster")
	if code := done.code(); code != 0 || done.said() != "" {
		t.Fatalf("code %d and %q, want 0 and nothing", code, done.said())
	}
	p = start(t, dir, nil).ready()
	if r, err := p.client().Get(limited(t), "foo"); err != nil || len(r.Kvs) != 1 {
		t.Errorf("after the recovery: %v, %v", r, err)
	}
	if r, err := p.client().MemberList(limited(t)); err != nil || len(r.Members) != 1 {
		t.Errorf("members: %v, %v", r, err)
	}
}
