// SPDX-License-Identifier: Apache-2.0

package lab

import "testing"

// A reload takes over what has changed, or fails, and the service lives on.
// The unit has the same means for it in both releases.
func TestAReloadTakesOverAGoodConfigurationAndRefusesABadOne(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.run("cleatctl", "put", "foo", "bar")
		pid := m.property("cleatd.service", "MainPID")

		m.sh(`echo 'log-level = "debug"' >> /etc/cleat/cleatd.toml`)
		m.run("systemctl", "reload", "cleatd")
		want(t, m.journal("-u", "cleatd"), `log_level="DEBUG"`)

		m.sh(`echo 'quota = 7' >> /etc/cleat/cleatd.toml`)
		m.refuse("systemctl", "reload", "cleatd")
		want(t, m.journal("-u", "cleatd", "-p", "err"), "quota")
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("after a refused reload: %q", said)
		}

		m.sh(`sed -i '$d' /etc/cleat/cleatd.toml`)
		m.run("systemctl", "reload", "cleatd")
		if state := m.property("cleatd.service", "ActiveState") + " " + m.property("cleatd.service", "MainPID"); state != "active "+pid {
			t.Errorf("cleatd was active %s and is %s", pid, state)
		}
	})
}
