// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The real one restores in test/session.
func TestARestoreIsCleatdsAndItsProgressDoesNotMixWithWhatItSays(t *testing.T) {
	programs := t.TempDir()
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	lay(t, filepath.Join(programs, "cleatd"), `#!/bin/sh
echo "1 3" >&3
echo "$*"
echo "2 3
3" >&3
echo "cleatd: $EXIT" >&2
exit $EXIT
`, 0o700)
	t.Setenv("EXIT", "0")
	code, stdout, stderr := cleatctl(t, "snapshot", "restore", "backup.db", "--json", "--skip-hash-check")
	if code != exitDone || stdout != "restore --skip-hash-check --json --progress-fd 3 -- backup.db\n" || stderr != "cleatd: 0\n" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	t.Setenv("EXIT", "2")
	if code, _, stderr := cleatctl(t, "snapshot", "restore", "backup.db"); code != exitFailed || !strings.HasPrefix(stderr, "cleatd: 2\ncleatctl: restore: ") || !strings.Contains(stderr, "has ended with code 2, and says why above") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}
