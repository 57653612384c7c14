// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// reachable lets others in; the ports are whatever is free.
var reachable = []string{"--listen-peer=127.0.0.1:0", "--listen-ca=127.0.0.1:0", "--advertise=127.0.0.1"}

// ctl runs cleatctl at a member's socket.
func (m member) ctl(t testing.TB, line string) (stdout, stderr string, ok bool) {
	t.Helper()
	out, err := exec.Command(program(t, cleatctl), append([]string{"--socket", m.socket}, strings.Fields(line)...)...).Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		return string(out), string(failed.Stderr), false
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), "", true
}

// must is ctl of what has to succeed.
func (m member) must(t testing.TB, line string) string {
	t.Helper()
	stdout, stderr, ok := m.ctl(t, line)
	if !ok {
		t.Fatalf("cleatctl %s: %s", line, stderr)
	}
	return stdout
}

// invite returns what to type behind cleatctl, with no address at the end, and
// the address.
func (m member) invite(t testing.TB, flags string) (join, address string) {
	t.Helper()
	line := strings.Fields(m.must(t, "invite "+flags))
	if len(line) != 5 || line[0] != "cleatctl" || line[1] != "join" || line[2] != "--token" {
		t.Fatalf("cleatctl invite printed %q", line)
	}
	return strings.Join(line[1:4], " "), line[4]
}

func TestThreeMachinesBecomeOneCluster(t *testing.T) {
	one, two := startCleatd(t, append(reachable, "--name=one")...), startCleatd(t, append(reachable, "--name=two")...)
	three := startCleatd(t, append(reachable, "--name=three")...)
	join, address := one.invite(t, "--uses 2")
	for _, m := range []member{two, three} {
		if said := m.must(t, join+" "+address); !strings.Contains(said, " joined cluster ") || !strings.HasSuffix(said, "It has caught up, and votes\n") {
			t.Errorf("join says %q", said)
		}
	}
	for _, m := range []member{one, two, three} {
		eventually(t, "all vote", func() error {
			list, why, _ := m.ctl(t, "member list")
			status, _, _ := m.ctl(t, "status")
			if strings.Count(list, ", started, ") != 3 || strings.Count(list, ", false\n") != 3 || strings.Contains(status, "learns") {
				return fmt.Errorf("%s%s%s", list, status, why)
			}
			return nil
		})
	}
	two.must(t, "put k v")
	if got := three.must(t, "get k --print-value-only"); got != "v\n" {
		t.Errorf("got %q", got)
	}
	if tokens := three.must(t, "token list"); strings.Count(tokens, "used up, voter, 0") != 1 {
		t.Errorf("the tokens as another member knows them: %s", tokens)
	}
}

func TestEachReasonNotToJoinIsItsOwnLine(t *testing.T) {
	host, other := startCleatd(t, append(reachable, "--name=host")...), startCleatd(t, reachable...)
	guest, alone := startCleatd(t, append(reachable, "--name=guest")...), startCleatd(t, "--listen-peer=127.0.0.1:0")
	namesake := startCleatd(t, append(reachable, "--name=host")...)
	if _, why, ok := startCleatd(t).ctl(t, "invite"); ok || !strings.Contains(why, "--advertise") {
		t.Errorf("invite at a member that nobody reaches: %q", why)
	}
	good, address := host.invite(t, "")
	revoked, _ := host.invite(t, "")
	host.must(t, "token revoke "+strings.Fields(revoked)[2])
	expired, _ := host.invite(t, "--ttl 1s")
	foreign, elsewhere := other.invite(t, "")
	before := host.must(t, "member list")
	alone.must(t, "put k v")
	eventually(t, "the token expires", func() error {
		if tokens := host.must(t, "token list"); !strings.Contains(tokens, "expired") {
			return errors.New(tokens)
		}
		return nil
	})
	for _, c := range []struct {
		name, line string
		at         member
		want       string
	}{
		{"no token at all", "join --token hello " + address, guest, "not a join token"},
		{"a token cut off", good[:len(good)-3] + " " + address, guest, "it may be cut off"},
		{"a token of another cluster", foreign + " " + address, guest, "the token is not for this cluster"},
		{"a host of another cluster", good + " " + elsewhere, guest, "the token is not for this cluster"},
		{"a revoked token", revoked + " " + address, guest, "the token was revoked"},
		{"an expired token", expired + " " + address, guest, "the token expired"},
		{"nobody there", good + " 127.0.0.1:1", guest, "connection refused"},
		{"the client door", good + " " + host.client, guest, "no application protocol"},
		{"a member with data", good + " " + address, alone, "join with --discard"},
		{"a name that is taken", good + " " + address, namesake, "the name \"host\" is member"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, why, ok := c.at.ctl(t, c.line)
			if ok || stdout != "" || strings.Count(why, "\n") != 1 || !strings.Contains(why, c.want) {
				t.Errorf("%q, %q", stdout, why)
			}
		})
	}
	if after := host.must(t, "member list"); after != before {
		t.Errorf("the members were\n%sand are\n%s", before, after)
	}
	// None of it used the token up, and data is thrown away only when told.
	if said := alone.must(t, good+" --discard --advertise=127.0.0.1 "+address); !strings.Contains(said, " joined cluster ") {
		t.Errorf("join says %q", said)
	}
	if _, why, ok := guest.ctl(t, good+" "+address); ok || !strings.Contains(why, "the token is used up") {
		t.Errorf("a token used twice: %q", why)
	}
}
