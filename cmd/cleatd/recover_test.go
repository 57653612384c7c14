// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

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
