// SPDX-License-Identifier: Apache-2.0

package session

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// company is a place whose users count: it is asked as root, and door is how
// anybody comes to it.
type company struct {
	place
	door []string
}

// founded makes users and roles of each kind. Their passwords are their names.
func (p place) founded() {
	p.t.Helper()
	for _, line := range []string{
		"user add root:root", "role add root", "user grant-role root root", "user add alice:alice", "user add bob:bob", "user add host --no-password",
		"role add writer", "role add reader", "role add idle", "role grant-permission writer readwrite a b", "role grant-permission writer write w",
		"role grant-permission writer readwrite p/ --prefix", "role grant-permission reader read r --from-key", "user grant-role alice writer",
		"user grant-role alice reader", "user grant-role bob reader", "user grant-role host writer", "put a 1", "put r 2", "put x 3", "auth enable",
	} {
		p.ctl(strings.Fields(line)...)
	}
}

func companyAtCleatd(t testing.TB, flags ...string) company {
	t.Helper()
	m := startCleatd(t, append(flags, "--bcrypt-cost=4")...)
	return company{
		place{t: t, flags: []string{"--endpoints=unix://" + m.socket}},
		append([]string{"--endpoints=https://" + m.client}, m.issue(t)...),
	}
}

func companyAtEtcd(p place) company {
	door := p.flags
	p.flags = append([]string{"--user=root:root"}, door...)
	return company{p, door}
}

// attempt returns what somebody gets, or the refusal without what is told of the
// attempt itself.
func (c company) attempt(user, line string) string {
	c.t.Helper()
	flags := []string{"--user=" + user, "--dial-timeout=30s", "--command-timeout=30s"} // a busy machine hashes slowly
	out, err := exec.Command(program(c.t, etcdctl), slices.Concat(c.door, flags, strings.Fields(line))...).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err == nil {
		return user + ": " + line + ": " + strings.Join(lines, " ")
	}
	return user + ": " + line + ": " + lines[len(lines)-1]
}

// order is all that is told of users and roles, and what they can do.
func (c company) order() string {
	c.t.Helper()
	var text []string
	say := func(args ...string) string {
		out := c.ctl(args...)
		text = append(text, strings.Join(args, " ")+"\n"+out)
		return out
	}
	say("auth", "status")
	for _, user := range strings.Fields(say("user", "list")) {
		say("user", "get", user, "--detail")
	}
	for _, role := range strings.Fields(say("role", "list")) {
		say("role", "get", role)
	}
	for _, user := range []string{"root:root", "alice:alice", "alice:new", "bob:bob", "carol:carol", "host:host", "alice:wrong"} {
		for _, line := range []string{"put a 1", "get a --print-value-only", "get r --print-value-only", "get x --print-value-only"} {
			text = append(text, c.attempt(user, line))
		}
	}
	return strings.Join(text, "\n")
}

func (c company) knows(user string) {
	c.t.Helper()
	if got, want := c.attempt(user, "put a 1"), user+": put a 1: OK"; got != want {
		c.t.Errorf("%s, not %s", got, want)
	}
}

func TestUsersGoToEtcdAndComeBack(t *testing.T) {
	t.Parallel()
	ours := companyAtCleatd(t)
	ours.founded()
	want := ours.order()
	ours.knows("alice:alice")
	theirs := companyAtEtcd(toEtcd(t, ours.saved()))
	if got := theirs.order(); got != want {
		t.Errorf("etcd has\n%s\nnot\n%s", got, want)
	}
	for _, line := range []string{ // etcd goes on with it
		"user add carol:carol", "user grant-role carol writer", "user revoke-role bob reader", "role delete idle",
		"role grant-permission writer read k z", "role revoke-permission writer w", "user delete host",
	} {
		theirs.ctl(strings.Fields(line)...)
	}
	passwd := exec.Command(program(t, etcdctl), append(theirs.flags, "user", "passwd", "alice", "--interactive=false")...)
	passwd.Stdin = strings.NewReader("new\n")
	if out, err := passwd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want = theirs.order()
	dir := filepath.Join(t.TempDir(), "cleat")
	said := must(t, program(t, cleatctl), "snapshot", "restore", theirs.saved(), "--data-dir", dir)
	if !strings.Contains(said, " 4 users and 3 roles ") {
		t.Errorf("it says %s", said)
	}
	back := companyAtCleatd(t, "--data-dir="+dir)
	if got := back.order(); got != want {
		t.Errorf("back in cleat there is\n%s\nnot\n%s", got, want)
	}
	back.knows("alice:new")
	back.knows("carol:carol")
}

// Users who do not count yet, or no longer, are kept with their revision.
func TestUsersThatDoNotCountAreKept(t *testing.T) {
	t.Parallel()
	theirs := atEtcd(t, filepath.Join(t.TempDir(), "etcd"))
	theirs.founded()
	theirs.ctl("--user=root:root", "auth", "disable")
	want := theirs.ctl("auth", "status") + theirs.ctl("user", "list") + theirs.ctl("role", "get", "writer")
	ours := toCleat(t, theirs.saved(), "--bump-revision=1000", "--mark-compacted")
	if got := ours.ctl("auth", "status") + ours.ctl("user", "list") + ours.ctl("role", "get", "writer"); got != want {
		t.Errorf("cleat has\n%s\nnot\n%s", got, want)
	}
	ours.ctl("auth", "enable")
	if got, want := ours.ctl("auth", "status"), "Authentication Status: true\n"; !strings.HasPrefix(got, want) {
		t.Errorf("%s, not %s", got, want)
	}
}
