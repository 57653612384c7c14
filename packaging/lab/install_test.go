// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTheFirstCallStartsTheMemberAndItsDataOutlivesTheMachine(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		if state := m.property("cleatd.service", "ActiveState"); state != "inactive" {
			t.Errorf("cleatd is %s before anybody has called", state)
		}
		if said := m.run("cleatctl", "put", "foo", "bar"); said != "OK" {
			t.Errorf("the first put said %q", said)
		}
		m.await("cleatd.service", "ActiveState", "active")
		for what, again := range map[string]func(){
			"a reboot":     m.reboot,
			"a power loss": func() { m.cutPower(); m.start() },
		} {
			again()
			if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
				t.Errorf("after %s: %q", what, said)
			}
		}
		if state := m.run("systemctl", "is-system-running"); state != "running" {
			t.Errorf("the machine is %s:\n%s", state, m.run("systemctl", "--failed"))
		}
	})
}

// A machine whose administrator wants no daemon before it is used starts it
// with the first call after each boot.
func TestTheFirstCallAfterABootStartsTheMemberToo(t *testing.T) {
	m := boot(t, trixie, "alone") // what enables and starts units is the same in both
	m.dpkg(newest)
	m.run("cleatctl", "put", "foo", "bar")
	m.run("systemctl", "disable", "cleatd.service")
	m.run("systemctl", "enable", "cleatd.socket") // which the line above took along
	m.reboot()
	if state := m.property("cleatd.service", "ActiveState"); state != "inactive" {
		t.Errorf("cleatd is %s before anybody has called", state)
	}
	if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
		t.Errorf("got %q", said)
	}
}

func TestRemoveKeepsTheDataAndPurgeTakesIt(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.run("cleatctl", "put", "foo", "bar")

		m.run("dpkg", "-r", "cleat")
		for _, unit := range []string{"cleatd.service", "cleatd.socket"} {
			if state := m.property(unit, "ActiveState") + " " + m.property(unit, "LoadState"); state != "inactive not-found" {
				t.Errorf("%s is %s", unit, state)
			}
		}
		m.run("test", "-e", "/var/lib/cleat/member.json", "-a", "!", "-e", "/usr/bin/cleatd", "-a", "!", "-e", "/run/cleat")

		m.dpkg(newest)
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("installed again: %q", said)
		}

		m.run("dpkg", "-P", "cleat")
		if left := m.sh("find / -xdev -iname '*cleat*' -not -path '/root/*' -not -path '/proc/*' -not -path '/var/log/*'"); left != "" {
			t.Errorf("a purge has left:\n%s", left)
		}
		if state := m.run("systemctl", "is-system-running"); state != "running" {
			t.Errorf("the machine is %s:\n%s", state, m.run("systemctl", "--failed"))
		}

		m.dpkg(newest)
		if said := m.run("cleatctl", "get", "foo"); said != "" {
			t.Errorf("after a purge: %q", said)
		}
	})
}

// What people read is the message; what programs ask for are fields.
func TestTheJournalTellsByUnitAndByField(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.run("cleatctl", "put", "whose-key", "whose-value")
		m.run("systemctl", "stop", "cleatd.service")
		all := m.journal("-u", "cleatd")
		want(t, all, "ready ")
		want(t, all, "stopping ")
		if strings.Contains(all, "whose-") {
			t.Errorf("the journal knows what a user has stored:\n%s", all)
		}
		var entry map[string]string
		found := m.journal("-o", "json", "--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,CLEAT_SOCKET", "CLEAT_CLIENT=127.0.0.1:2379")
		if err := json.Unmarshal([]byte(found), &entry); err != nil {
			t.Fatalf("want one entry: %v:\n%s", err, found)
		}
		want(t, entry["MESSAGE"], "ready ")
		for field, value := range map[string]string{
			"PRIORITY": "6", "SYSLOG_IDENTIFIER": "cleatd", "_SYSTEMD_UNIT": "cleatd.service", "CLEAT_SOCKET": "/run/cleat/cleat.sock",
		} {
			if entry[field] != value {
				t.Errorf("%s=%s, want %s", field, entry[field], value)
			}
		}
	})
}
