// SPDX-License-Identifier: Apache-2.0

package packages

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const units = "../../packaging/systemd"

// systemd warns of a key that it does not know and ends with 0 all the same.
func TestSystemdHasNothingToSayAboutTheUnits(t *testing.T) {
	need(t, "systemd-analyze", "systemd")
	verifyUnits(t, "system", "cleatd.service", "cleatd.socket", "cleatd-net.socket")
	verifyUnits(t, "user", "cleatctl-renew.service", "cleatctl-renew.timer")
}

// verifyUnits looks at the units of one manager: "system", or each "user"'s.
func verifyUnits(t *testing.T, manager string, names ...string) {
	t.Helper()
	root := unpacked(t)
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir) // or systemd-analyze takes root for nobody's user
	var paths []string
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd", manager, name))
		if err != nil {
			t.Fatal(err)
		}
		// The program is not installed, its pages neither.
		shown := strings.ReplaceAll(string(text), "/usr/bin/cleat", filepath.Join(root, "usr/bin/cleat"))
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(shown), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	stdout, stderr := said(t, "systemd-analyze", append([]string{"verify", "--man=no", "--" + manager}, paths...)...)
	if stdout+stderr != "" {
		t.Errorf("systemd-analyze verify says\n%s%s", stdout, stderr)
	}
}

// The score of the sandbox, of ten; less is safer.
func TestTheServiceIsShutIn(t *testing.T) {
	need(t, "systemd-analyze", "systemd")
	stdout, stderr := said(t, "systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", filepath.Join(units, "cleatd.service"))
	if stderr != "" || !strings.Contains(stdout, "Overall exposure level for cleatd.service: 1.") {
		t.Errorf("systemd-analyze security says\n%s%s", stdout, stderr)
	}
}

// What AppArmor's own compiler has to say of the profile. That it fits is to be seen
// in complain mode on machines whose kernel has AppArmor.
func TestAppArmorReadsTheProfile(t *testing.T) {
	need(t, "apparmor_parser", "apparmor")
	profile := filepath.Join(unpacked(t), "etc/apparmor.d/usr.bin.cleatd")
	stdout, stderr := said(t, "apparmor_parser", "--skip-kernel-load", "--skip-cache", "--skip-read-cache", profile)
	for line := range strings.Lines(stdout + stderr) {
		if !strings.Contains(line, "Kernel needs AppArmor") { // which is this machine's
			t.Errorf("apparmor_parser says %s", line)
		}
	}
}
