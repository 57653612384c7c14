// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"strings"
	"testing"
)

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

// The cluster key is no part of the data: without it the member serves, and says
// that it issues nothing, until it has it again, from wherever.
func TestAMemberWithoutItsClusterKeyServes(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.run("cleatctl", "put", "foo", "bar")
		m.sh("echo six words that nobody else knows > pass; cleatctl ca key export key.age --passphrase-file pass")
		m.sh("systemctl stop cleatd.socket cleatd.service; mv /var/lib/cleat/pki/cluster.key /root/; systemctl start cleatd.socket")
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("got %q", said)
		}
		want(t, m.run("cleatctl", "status"), "LOCKED")
		want(t, m.refuse("cleatctl", "cert", "issue", "alice"), "cluster.key")
		m.run("cleatctl", "ca", "unlock", "key.age", "--passphrase-file", "pass")
		m.run("cleatctl", "cert", "issue", "alice")

		// Sealed with the machine's own key it is nowhere on the disk any more.
		key := strings.TrimSpace(m.sh("grep -v -e --- /var/lib/cleat/pki/cluster.key"))
		m.sh(`systemd-creds setup
			mkdir -p /etc/credstore.encrypted
			cleatctl ca key decrypt key.age --passphrase-file pass |
				systemd-creds encrypt --with-key=host --name=cluster.key - /etc/credstore.encrypted/cleatd.cluster.key
			rm /var/lib/cleat/pki/cluster.key /root/cluster.key
			systemctl restart cleatd.service`)
		want(t, m.run("cleatctl", "status"), "from systemd")
		m.run("cleatctl", "cert", "issue", "bob")
		if found := m.sh("grep -rlF '" + key + "' /etc /var/lib/cleat /root || true"); found != "" {
			t.Errorf("the key lies in plain in %s", found)
		}
	})
}
