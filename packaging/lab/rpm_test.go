// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The rpm's way through a life, with rpm and with dnf. Debian has both, and
// what is asked here is whether the package and its scripts do what they
// should; an rpm of two lines stands for Fedora's systemd. One release is
// enough: the scripts' ways apart are those of the deb's, told elsewhere.
func TestTheRPMIsInstalledUpgradedVerifiedAndErased(t *testing.T) {
	need(t)
	first, next := rpm(t, older), rpm(t, newest)
	systemd := only(t, filepath.Join(spare, "systemd-*.rpm"))
	for name, tool := range map[string]struct{ install, upgrade, erase func(m *machine) }{
		"by rpm": {
			install: func(m *machine) {
				m.run("rpm", "-U", "repository/"+filepath.Base(systemd), "repository/"+filepath.Base(first))
			},
			upgrade: func(m *machine) { m.run("rpm", "-U", "repository/"+filepath.Base(next)) },
			erase:   func(m *machine) { m.run("rpm", "-e", "cleat", "systemd") },
		},
		"by dnf": {
			install: func(m *machine) { m.dnf("install", "cleat-0.0.9") },
			upgrade: func(m *machine) { m.dnf("upgrade", "cleat") },
			erase:   func(m *machine) { m.dnf("remove", "cleat") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := boot(t, trixie, "alone")
			m.bring(systemd, first, next)
			m.sh("mkdir repository && mv *.rpm repository && createrepo_c --quiet repository")

			tool.install(m)
			was := m.run("rpm", "-q", "cleat")
			if said := m.run("cleatctl", "put", "foo", "bar"); said != "OK" {
				t.Errorf("the first put said %q", said)
			}
			if said := m.run("rpm", "-V", "cleat"); said != "" {
				t.Errorf("rpm -V says\n%s", said)
			}
			load := begin(t, 4, func(int) *clientv3.Client { return m.local() })
			tool.upgrade(m)
			load.flows()
			load.check(m.local())
			load.unfailing()
			if is := m.run("rpm", "-q", "cleat"); is == was {
				t.Errorf("after the upgrade it is %s still", is)
			}
			want(t, m.run("cleatctl", "status"), "version       "+m.run("sh", "-c", "cleatd --version | cut -d' ' -f3"))
			if said := m.run("rpm", "-V", "cleat"); said != "" {
				t.Errorf("after the upgrade rpm -V says\n%s", said)
			}

			tool.erase(m)
			if state := m.property("cleatd.socket", "ActiveState") + " " + m.property("cleatd.service", "LoadState"); state != "inactive not-found" {
				t.Errorf("erased: %s", state)
			}
			m.run("test", "-e", "/var/lib/cleat/member.json")
			tool.install(m)
			if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
				t.Errorf("installed again: %q", said)
			}
		})
	}
}

// dnf runs it with the machine's own repository and no other.
func (m *machine) dnf(args ...string) {
	m.t.Helper()
	m.run(append([]string{"dnf", "-y", "--quiet", "--setopt=reposdir=/dev/null", "--repofrompath=lab,/root/repository",
		"--repo=lab", "--nogpgcheck"}, args...)...)
}
