// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"strconv"
	"strings"
	"testing"
)

func TestTheGroupGetsInAndOthersAreToldHow(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.sh("useradd -m alice && useradd -m bob && usermod -aG cleat alice")
		if s := m.as("alice", "cleatctl", "put", "foo", "bar"); s.out != "OK" {
			t.Errorf("alice, who is in the group: %v", s)
		}
		s := m.as("bob", "cleatctl", "get", "foo")
		if s.code != 1 || strings.Count(s.err, "\n") > 0 {
			t.Errorf("bob, who is not: %v", s)
		}
		want(t, s.err, "/run/cleat/cleat.sock")
		want(t, s.err, "group cleat")
		if s := m.as("bob", "ls", "/var/lib/cleat"); s.code == 0 {
			t.Errorf("bob looks into the data: %v", s)
		}
	})
}

// The sandbox is judged by the machine's own systemd, and works: what a member
// does on a day is done in it.
func TestTheSandboxIsTightAndTheServiceWorksInIt(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		report := m.run("systemd-analyze", "security", "--no-pager", "cleatd.service")
		_, verdict, _ := strings.Cut(report, "Overall exposure level for cleatd.service: ")
		score, err := strconv.ParseFloat(strings.Fields(verdict + " ?")[0], 64)
		if err != nil || score > 1.5 {
			t.Errorf("exposure %v (%v), want 1.5 at most:\n%s", score, err, report)
		}
		m.run("cleatctl", "put", "foo", "bar")
		m.run("cleatctl", "snapshot", "save", "backup.db")
		m.run("cleatctl", "cert", "issue", "alice")
		m.sh("etcdctl --endpoints https://127.0.0.1:2379 --cacert ca.crt --cert alice.crt --key alice.key get foo | grep bar")
		m.run("sh", "-c", "cleatctl status | grep '^disk .* free'")
		if denied := m.journal("-u", "cleatd", "-p", "warning"); denied != "" {
			t.Errorf("the journal warns:\n%s", denied)
		}
	})
}
