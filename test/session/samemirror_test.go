// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// destination is a server that both clients mirror to, each to one of its own.
type destination struct {
	what  string
	flags []string // of make-mirror, where to included
	read  []string // by which what came is read
}

// contents are the keys and values, and how many changes each key has had.
func (d destination) contents(t *testing.T) string {
	t.Helper()
	out := must(t, program(t, etcdctl), append(d.read, "get", "", "--prefix", "-w", "fields")...)
	var text []string
	for line := range strings.Lines(out) {
		for _, part := range []string{`"Key"`, `"Value"`, `"Version"`} {
			if strings.HasPrefix(line, part) {
				text = append(text, strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(text, "\n")
}

func mirrorToCleatd(t *testing.T) destination {
	m := startCleatd(t)
	files := m.issue(t)
	flags := []string{"make-mirror", "https://" + m.client}
	for _, file := range files {
		flags = append(flags, "--dest-"+strings.TrimPrefix(file, "--"))
	}
	return destination{"cleatd over mutual TLS", append(flags, "--dest-insecure-transport=false"), []string{"--endpoints=unix://" + m.socket}}
}

func mirrorToEtcd(t *testing.T, what string, flags ...string) destination {
	p := atEtcd(t, filepath.Join(t.TempDir(), "etcd"))
	return destination{what, append([]string{"make-mirror", strings.TrimPrefix(p.flags[0], "--endpoints=")}, flags...), p.flags}
}

func mirrorToUsers(t *testing.T, flags ...string) destination {
	d := mirrorToEtcd(t, "etcd with users", flags...)
	for _, line := range []string{"user add root:word", "role add root", "user grant-role root root", "auth enable"} {
		must(t, program(t, etcdctl), append(d.read, strings.Fields(line)...)...)
	}
	d.read = append(d.read, "--user=root:word")
	return d
}

// What etcdctl makes of a source at a destination, cleatctl makes of it too, to
// the last change.
func TestCleatctlMirrorsWhatEtcdctlMirrors(t *testing.T) {
	t.Parallel()
	source := atCleatd(t)
	for i := range 30 {
		source.ctl("put", fmt.Sprintf("a/%02d", i), "before")
	}
	source.ctl("put", "other", "a/ is not at its beginning: a/")
	kinds := []func() destination{
		func() destination { return mirrorToCleatd(t) },
		func() destination {
			return mirrorToEtcd(t, "below another prefix", "--prefix=a/", "--dest-prefix=b/a/")
		},
		func() destination { return mirrorToEtcd(t, "from a revision on", "--rev=20") },
		func() destination {
			return mirrorToUsers(t, "--prefix=a/", "--no-dest-prefix", "--max-txn-ops=2", "--dest-user=root", "--dest-password=word")
		},
	}
	var pairs [][2]destination
	for _, kind := range kinds {
		pairs = append(pairs, [2]destination{kind(), kind()})
	}
	for _, pair := range pairs {
		for i, client := range []string{cleatctl, etcdctl} {
			_ = (&side{path: program(t, client), endpoint: strings.TrimPrefix(source.flags[0], "--endpoints=")}).hold(t, pair[i].flags...)
		}
	}
	// Whoever has the last key of the copy gets all that follows as changes.
	for _, pair := range pairs {
		for _, each := range pair {
			eventually(t, each.what, func() error {
				if got := each.contents(t); !strings.Contains(got, `29"`) {
					return fmt.Errorf("there is %s", got)
				}
				return nil
			})
		}
	}
	source.ctl("put", "a/01", "after")
	source.ctl("del", "a/02")
	source.txn("\nput a/03 x\nput a/04 y\nput a/05 z\ndel a/06\nput outside x\n\n\n")
	source.ctl("del", "a/1", "--prefix")
	source.ctl("put", "a/end", "end")
	for _, pair := range pairs {
		for _, each := range pair {
			eventually(t, each.what, func() error {
				if got := each.contents(t); !strings.Contains(got, `end"`) {
					return fmt.Errorf("there is %s", got)
				}
				return nil
			})
		}
		if got, want := pair[0].contents(t), pair[1].contents(t); got != want {
			t.Errorf("%s\ncleatctl makes\n%s\netcdctl\n%s", pair[0].what, got, want)
		}
	}
}

func (p place) txn(text string) {
	p.t.Helper()
	command := exec.Command(program(p.t, etcdctl), append(p.flags, "txn")...)
	command.Stdin = strings.NewReader(text)
	if out, err := command.CombinedOutput(); err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
}

// A prefix stays at the destination with --rev, too, where etcdctl forgets it;
// and who has to go on is told where.
func TestAMirrorThatEndsSaysWhereToGoOn(t *testing.T) {
	t.Parallel()
	source, d := atCleatd(t), mirrorToEtcd(t, "", "--prefix=a/", "--rev=2")
	source.ctl("put", "a/1", "x")
	h := (&side{path: program(t, cleatctl), endpoint: strings.TrimPrefix(source.flags[0], "--endpoints=")}).hold(t, d.flags...)
	eventually(t, "the first change", func() error {
		if got := d.contents(t); !strings.Contains(got, `"a/1"`) {
			return fmt.Errorf("there is %s", got)
		}
		return nil
	})
	must(t, program(t, etcdctl), append(d.read, "user", "add", "root:word")...)
	must(t, program(t, etcdctl), append(d.read, "auth", "enable")...) // and nobody else may write
	source.ctl("put", "a/2", "x")
	if code := h.ends(); code != 1 || !strings.Contains(h.stderr.String(), "--rev 3 goes on there") {
		t.Errorf("code %d: %s", code, h.stderr)
	}
	source.ctl("compaction", "3")
	past := (&side{path: program(t, cleatctl), endpoint: strings.TrimPrefix(source.flags[0], "--endpoints=")}).hold(t, d.flags...)
	if code := past.ends(); code != 1 || !strings.Contains(past.stderr.String(), "has been compacted") {
		t.Errorf("from what is compacted: code %d: %s", code, past.stderr)
	}
}
