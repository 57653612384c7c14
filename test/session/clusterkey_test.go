// SPDX-License-Identifier: Apache-2.0

package session

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A cluster is lost but for a backup and the exported key: clients come in with
// the certificates that they have.
func TestTheCAGoesOnWithABackupAndTheExportedKey(t *testing.T) {
	t.Parallel()
	one := startCleatd(t)
	alice := one.issue(t)
	dir := t.TempDir()
	exported, pass, backup := filepath.Join(dir, "key.age"), filepath.Join(dir, "pass"), filepath.Join(dir, "backup.db")
	if err := os.WriteFile(pass, []byte("six words that nobody else knows\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, _, _ := one.ctl(t, "doctor"); !strings.Contains(said, "was never exported") {
		t.Errorf("the doctor does not miss the export:\n%s", said)
	}
	one.must(t, "ca key export "+exported+" --passphrase-file "+pass)
	if said, _, _ := one.ctl(t, "doctor"); strings.Contains(said, "never exported") || !strings.Contains(said, "was exported") {
		t.Errorf("the doctor still misses the export:\n%s", said)
	}
	one.must(t, "put k v")
	one.must(t, "snapshot save "+backup)
	if got := toEtcd(t, backup).ctl("get", "k", "--print-value-only"); got != "v\n" {
		t.Errorf("etcd has %q", got)
	}

	kept := filepath.Join(dir, "kept")
	said := must(t, program(t, cleatctl), "snapshot", "restore", backup, "--data-dir", kept, "--cluster-key", exported, "--passphrase-file", pass)
	if !strings.Contains(said, "The CA goes on: the certificates of 1 client or service stay good") {
		t.Errorf("restore says %s", said)
	}
	two := startCleatd(t, "--data-dir="+kept)
	if got := must(t, program(t, cleatctl), append(alice, "--endpoints="+two.client, "get", "k", "--print-value-only")...); got != "v\n" {
		t.Errorf("alice gets %q", got)
	}

	lost := filepath.Join(dir, "lost")
	said = must(t, program(t, cleatctl), "snapshot", "restore", backup, "--data-dir", lost)
	if !strings.Contains(said, "another CA: 1 client or service must be issued a new certificate") || !strings.Contains(said, "\n  alice\n") {
		t.Errorf("restore says %s", said)
	}
}

func TestAMemberIsLockedAndItsKeyReplaced(t *testing.T) {
	t.Parallel()
	one := startCleatd(t)
	one.must(t, "ca lock")
	if _, why, ok := one.ctl(t, "cert issue bob --out "+t.TempDir()); ok || !strings.Contains(why, "locked") {
		t.Errorf("issued while locked: %s", why)
	}
	if said, _, _ := one.ctl(t, "status"); !strings.Contains(said, "LOCKED") || !strings.Contains(said, "cleatctl ca unlock") {
		t.Errorf("status says\n%s", said)
	}
	one.must(t, "put k v")
	if _, why, ok := one.ctl(t, "ca lock --remove-file --yes"); ok || !strings.Contains(why, "ca key export") {
		t.Errorf("the only key was removed: %s", why)
	}
	one.must(t, "ca unlock")
	one.must(t, "cert issue bob --out "+t.TempDir())
	if said := one.must(t, "ca key rotate"); !strings.Contains(said, "all members have it") {
		t.Errorf("rotate says %s", said)
	}
	one.must(t, "cert issue carol --out "+t.TempDir())
}
