// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestAKilledMemberComesBack(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.run("cleatctl", "put", "foo", "bar")
		m.run("systemctl", "kill", "--signal=KILL", "cleatd.service")
		m.await("cleatd.service", "NRestarts", "1")
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("got %q", said)
		}
	})
}

// The program here hangs when it applies this key for somebody who waits for
// the answer. Apart from that it is what the package has.
func TestAMemberThatHangsIsRestartedByTheWatchdog(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.bring(filepath.Join(spare, "broken_apply"))
		m.put("/etc/systemd/system/cleatd.service.d/lab.conf",
			"[Service]\nExecStart=\nExecStart=/usr/local/bin/broken_apply --config /etc/cleat/cleatd.toml\nWatchdogSec=5s\n")
		m.sh("mv broken_apply /usr/local/bin && systemctl daemon-reload")
		m.run("cleatctl", "put", "foo", "bar")
		m.refuse("cleatctl", "put", "broken_apply", "is put all the same")
		eventually(t, "systemd starts it again", func() error {
			if n := m.property("cleatd.service", "NRestarts"); n == "0" {
				return fmt.Errorf("%s restarts", n)
			}
			return nil
		})
		if said := m.run("cleatctl", "get", "--prefix", "", "--print-value-only"); said != "is put all the same\nbar" {
			t.Errorf("afterwards there is %q", said)
		}
		want(t, m.journal("-u", "cleatd"), "the watchdog is not fed")
		want(t, m.journal("-u", "cleatd"), "Watchdog timeout")
	})
}

// The first call waits for a member that takes longer to start than dialing may
// take elsewhere.
func TestTheFirstCallWaitsForASlowStart(t *testing.T) {
	m := boot(t, trixie, "alone") // who waits is cleatctl
	m.dpkg(newest)
	m.put("/etc/systemd/system/cleatd.service.d/lab.conf", "[Service]\nExecStartPre=sleep 4\n")
	m.run("systemctl", "daemon-reload")
	if said := m.run("cleatctl", "put", "foo", "bar"); said != "OK" {
		t.Errorf("the first put said %q", said)
	}
}

// What only a person can mend is not tried again and again, and whoever looks
// finds the reason where he looks first.
func TestAStartThatCannotSucceedEndsWithItsReason(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.run("cleatctl", "put", "foo", "bar")
		m.sh("echo 'quota = 7' >> /etc/cleat/cleatd.toml")
		m.refuse("systemctl", "restart", "cleatd.service")
		if state := m.property("cleatd.service", "ActiveState") + " " + m.property("cleatd.service", "ExecMainStatus"); state != "failed 2" {
			t.Errorf("cleatd is %s", state)
		}
		want(t, m.refuse("cleatctl", "get", "foo"), "journalctl -u cleatd") // a call tries, a few times
		starts := strings.Count(m.journal("-u", "cleatd.service"), "Starting cleatd.service")
		if restarts := m.property("cleatd.service", "NRestarts"); restarts != "0" || starts > 7 {
			t.Errorf("%s restarts, %d starts", restarts, starts)
		}
		last := m.journal("-t", "cleatd", "-n", "1")
		want(t, last, "quota")
		want(t, last, "/etc/cleat/cleatd.toml")

		m.sh("sed -i '$d' /etc/cleat/cleatd.toml && systemctl reset-failed cleatd.service cleatd.socket && systemctl start cleatd.socket")
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("mended: %q", said)
		}
	})
}
