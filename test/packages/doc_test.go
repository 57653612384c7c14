// SPDX-License-Identifier: Apache-2.0

// Package packages looks into the packages in dist: what they hold, as dpkg
// and rpm tell it, and what man and systemd say of it. That they install,
// start, upgrade and go again is shown by packaging/lab, on booted machines.
//
// Without packages the tests fail with the command that makes them.
package packages

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// dist is where packages are, from here.
const dist = "../../dist"

// built is this machine's package of a kind: "_amd64.deb", "x86_64.rpm".
func built(t *testing.T, kind string) string {
	t.Helper()
	arch := map[string]string{"deb": runtime.GOARCH, "rpm": map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]}[kind]
	found, err := filepath.Glob(filepath.Join(dist, "cleat*"+arch+"."+kind))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d packages in dist for %s: make %s", len(found), arch, kind)
	}
	return found[0]
}

// need skips a test whose program is not there. As root make test installs it.
func need(t *testing.T, program, from string) {
	t.Helper()
	_, err := exec.LookPath(program)
	if err != nil && os.Geteuid() == 0 {
		t.Fatalf("there is no %s: apt-get install %s", program, from)
	}
	if err != nil {
		t.Skipf("there is no %s: apt-get install %s", program, from)
	}
}

// said runs a program, which must succeed, and returns what it prints.
func said(t *testing.T, name string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, complaint bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &complaint)
	}
	return out.String(), complaint.String()
}

// unpacked is the root that the deb would make, the same for all tests.
func unpacked(t *testing.T) string {
	t.Helper()
	need(t, "dpkg-deb", "dpkg")
	once.Do(func() { said(t, "dpkg-deb", "-x", built(t, "deb"), root) })
	return root
}

var (
	once sync.Once
	root string
)

func TestMain(m *testing.M) {
	var err error
	if root, err = os.MkdirTemp("", "cleat-packages-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(root) // what is left lies with other temporary files
	os.Exit(code)
}
