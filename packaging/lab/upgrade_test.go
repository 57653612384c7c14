// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestAnUpgradeUnderLoadLosesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(older)
		was := m.installed()
		m.sh("echo '# by hand' >> /etc/cleat/cleatd.toml")
		load := begin(t, 8, func(int) *clientv3.Client { return m.local() })

		m.dpkg(newest)
		if is := m.installed(); is <= was {
			t.Fatalf("from %s to %s", was, is)
		}
		load.flows()
		want(t, m.run("cleatctl", "status"), "version       "+m.run("sh", "-c", "cleatd --version | cut -d' ' -f3"))
		want(t, m.run("tail", "-n1", "/etc/cleat/cleatd.toml"), "# by hand")

		// Back again: both read what the other writes, as the members' agreement
		// on a format promises for neighbours.
		m.dpkg(older)
		load.flows()
		if is := m.installed(); is != was {
			t.Errorf("back from a newer version is %s, was %s", is, was)
		}
		t.Logf("%d puts", load.check(m.local()))
		load.unfailing()
	})
}
