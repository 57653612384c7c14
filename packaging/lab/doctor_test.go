// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// finding is a line of cleatctl doctor.
type finding struct{ Check, Grade, What, Mend string }

// doctor is what it finds to mend.
func (m *machine) doctor() (found []finding) {
	m.t.Helper()
	s := m.try("cleatctl", "doctor", "--json")
	var told struct{ Findings []finding }
	if err := json.Unmarshal([]byte(s.out), &told); err != nil {
		m.t.Fatalf("%s: %v: %v", m.name, err, s)
	}
	for _, f := range told.Findings {
		if f.Grade == "warning" || f.Grade == "fault" {
			found = append(found, f)
		}
	}
	if faulty := slices.ContainsFunc(found, func(f finding) bool { return f.Grade == "fault" }); faulty != (s.code == 1) {
		m.t.Errorf("exit code %d with %v", s.code, found)
	}
	return found
}

// sick is what of it is about the service. A container's clock and disk are the
// host's.
func (m *machine) sick() []finding {
	m.t.Helper()
	return slices.DeleteFunc(m.doctor(), func(f finding) bool { return f.Check == "clock" || f.Check == "disk" })
}

// What the doctor says of a machine under systemd is so, and what it advises
// helps: each harm is done, found, mended by its own words, and found no more.
func TestTheDoctorFindsWhatIsWrongAndItsMendsHelp(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m.dpkg(newest)
		m.run("cleatctl", "put", "foo", "bar")
		if found := m.sick(); len(found) != 1 || found[0].Check != "cluster key" {
			t.Fatalf("a machine that was just installed: %v, want that its key be exported", found)
		}
		m.sh("echo six words that nobody else knows > pass; cleatctl ca key export key.age --passphrase-file pass")
		if found := m.sick(); len(found) > 0 {
			t.Fatalf("a machine whose key was exported: %v", found)
		}
		const dropIn = "/run/systemd/system/cleatd.service.d/lab.conf"
		for _, c := range []struct {
			harm, check, what string
			mend              string // what the words mean that are no commands; empty: they are commands
		}{
			{"systemctl disable cleatd.service; systemctl enable cleatd.socket", "systemd", "cleatd.service is disabled", ""},
			{"systemctl disable cleatd.socket", "systemd", "cleatd.socket is disabled", ""},
			{"chmod o+rw /run/cleat/cleat.sock", "socket", "everybody may connect to /run/cleat/cleat.sock (mode 0666)", ""},
			{"chgrp root /run/cleat/cleat.sock", "socket", "/run/cleat/cleat.sock belongs to group root", ""},
			{"chmod 0755 /var/lib/cleat", "directory", "(mode 0755), where keys are", ""},
			{"chown root /var/lib/cleat/LOCK", "directory", "1 name in the data directory", ""},
			{"chmod o+r /var/lib/cleat/pki/cluster.key", "certificates", "/var/lib/cleat/pki/cluster.key (mode 0604)", "chmod 0600 /var/lib/cleat/pki/cluster.key"},
			{"chmod g+w /etc/cleat/cleatd.toml", "configuration", "others than its owner may change /etc/cleat/cleatd.toml", ""},
			{"echo 'quota = 7' >> /etc/cleat/cleatd.toml", "configuration", "cleatd does not take its settings", "sed -i '$d' /etc/cleat/cleatd.toml; cleatd check"},
			{install0644(dropIn, "[Service]\nType=exec\n") + "; systemctl daemon-reload", "systemd", "cleatd.service is of type exec", "rm " + dropIn + "; systemctl daemon-reload"},
			{install0644(dropIn, "[Service]\nWatchdogSec=0\n") + "; systemctl daemon-reload; systemctl restart cleatd", "systemd", "cleatd.service has no watchdog", "rm " + dropIn + "; systemctl daemon-reload; systemctl restart cleatd"},
			{install0644(dropIn, "[Service]\nLimitNOFILE=1000\n") + "; systemctl daemon-reload; systemctl restart cleatd", "files", "of at most 1000 files", "rm " + dropIn + "; systemctl daemon-reload; systemctl restart cleatd"},
			{"echo 'quota = 7' >> /etc/cleat/cleatd.toml; ! systemctl restart cleatd", "systemd", "cleatd.service has failed",
				"sed -i '$d' /etc/cleat/cleatd.toml; systemctl reset-failed cleatd.service cleatd.socket; systemctl start cleatd"},
		} {
			m.try("systemctl", "reset-failed", "cleatd.service") // so many starts would be too many
			m.sh(c.harm)
			is := func(f finding) bool { return f.Check == c.check && strings.Contains(f.What, c.what) }
			found := m.sick()
			at := slices.IndexFunc(found, is)
			if at < 0 {
				t.Errorf("after %q the doctor finds %v", c.harm, found)
				continue
			}
			mend := c.mend
			if mend == "" {
				mend = found[at].Mend
			}
			m.sh(mend)
			if left := m.sick(); len(left) > 0 {
				t.Errorf("after %q and its mend %q: %v", c.harm, mend, left)
			}
		}
		if said := m.run("cleatctl", "get", "foo"); said != "foo\nbar" {
			t.Errorf("got %q", said)
		}
	})
}

// install0644 is a line of shell that makes a file.
func install0644(path, text string) string {
	return fmt.Sprintf("mkdir -p $(dirname %[1]s); printf %[2]q > %[1]s", path, text)
}
