// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"path/filepath"
	"runtime"
	"testing"
)

// What `make lab` builds, from here: the packages of this checkout, those of the
// same sources under a lower version, and a cleatd that hangs when it is told to.
const (
	newest = "../../dist"
	older  = "../../.build/lab/older"
	spare  = "../../.build/lab"
)

// deb is this machine's deb in a directory.
func deb(t testing.TB, dir string) string {
	t.Helper()
	return only(t, filepath.Join(dir, "cleat_*_"+runtime.GOARCH+".deb"))
}

// rpm is this machine's rpm in a directory.
func rpm(t testing.TB, dir string) string {
	t.Helper()
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return only(t, filepath.Join(dir, "cleat-*."+arch+".rpm"))
}

func only(t testing.TB, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%d files are %s, want one: run make lab", len(found), pattern)
	}
	return found[0]
}

// dpkg installs the deb of a directory as an administrator does.
func (m *machine) dpkg(dir string) {
	m.t.Helper()
	m.run("dpkg", "-i", m.bring(deb(m.t, dir))[0])
}

// installed is the version that dpkg knows.
func (m *machine) installed() string {
	m.t.Helper()
	return m.run("dpkg-query", "-f", "${Version}", "-W", "cleat")
}
