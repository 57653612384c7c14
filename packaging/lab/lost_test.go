// SPDX-License-Identifier: Apache-2.0

package lab

import "testing"

// A directory of which a part is lost does not start, whatever is tried; systemd
// leaves it to a person, who finds the reason where it is looked for first.
// Trixie is enough: what decides is the exit code.
func TestAMemberThatHasLostAPartOfItsDataIsNotStartedAgainAndAgain(t *testing.T) {
	m := boot(t, trixie, "alone")
	m.dpkg(newest)
	m.run("cleatctl", "put", "foo", "bar")
	for part, says := range map[string]string{
		"raft/wal":         "the log /var/lib/cleat/raft/wal is missing",
		"raft/stable.db":   "the member has lost its vote",
		"state/MANIFEST-*": "MANIFEST-",
		"pki/cluster.key":  "cluster.key",
	} {
		t.Run(part, func(t *testing.T) { lose(t, m, part, says) })
	}
	if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
		t.Errorf("with all of it again: %q", said)
	}
}

// lose takes a part of the data away, and gives it back.
func lose(t *testing.T, m *machine, part, says string) {
	m.sh("systemctl stop cleatd.socket cleatd.service; cp -a /var/lib/cleat /root/whole; rm -r /var/lib/cleat/" + part)
	m.refuse("systemctl", "start", "cleatd.service")
	if state := m.property("cleatd.service", "ActiveState") + " " + m.property("cleatd.service", "ExecMainStatus") + " " + m.property("cleatd.service", "NRestarts"); state != "failed 2 0" {
		t.Errorf("without %s cleatd is %s, want failed with code 2 and no restart", part, state)
	}
	want(t, m.journal("-t", "cleatd", "-n", "1"), says)
	m.sh("rm -r /var/lib/cleat; mv /root/whole /var/lib/cleat; systemctl reset-failed cleatd.service cleatd.socket; systemctl start cleatd.socket")
}
