// SPDX-License-Identifier: Apache-2.0

// Package session runs what a person would type, through the built programs:
// the scripts in testdata with cleatctl, with etcdctl 3.7 and with the etcdctl
// 3.4 that Debian ships, against cleatd over its socket and over mTLS, and
// against real etcd, which is what says that the scripts themselves are true.
// Beside that it compares, byte for byte, what cleatctl and etcdctl print.
//
// A program that is missing fails the test, with the command that brings it.
// Without root a missing package of Debian's skips it instead.
package session

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// letter plays the scenes with lives of 10 and 60 seconds instead of 3.
var letter = flag.Bool("letter", false, "use the long lease lives of the described session")

// lives is for how many certificates a program goes on in the test of renewals.
var lives = flag.Int("lives", 4, "certificates that a program goes through")

// The programs, from the top of the checkout.
const (
	cleatd    = "bin/cleatd"
	cleatctl  = "bin/cleatctl"
	etcd      = ".build/peers/server"
	etcdctl   = ".build/peers/etcdctl"
	etcdutl   = ".build/peers/etcdutl"
	debianCtl = "/usr/bin/etcdctl"
)

// The clients take nothing from the environment of whoever runs the tests, nor
// from the contexts.
func TestMain(m *testing.M) {
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "ETCDCTL_") || strings.HasPrefix(variable, "CLEATCTL_") {
			name, _, _ := strings.Cut(variable, "=")
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("XDG_CONFIG_HOME", "/nonexistent")
	os.Exit(m.Run())
}

// program returns the path of a built program.
func program(t testing.TB, name string) string {
	t.Helper()
	path := name
	if !filepath.IsAbs(name) {
		path, _ = filepath.Abs(filepath.Join("..", "..", name))
	}
	_, err := os.Stat(path)
	if err != nil && name == debianCtl && os.Geteuid() != 0 {
		t.Skip("there is no etcdctl of Debian's: apt-get install etcd-client") // as root `make test` has installed it
	}
	if err != nil {
		t.Fatalf("%v: bring it with %s", err, map[string]string{
			cleatd: "make build", cleatctl: "make build", etcd: "make peers", etcdctl: "make peers", etcdutl: "make peers",
			debianCtl: "apt-get install etcd-client",
		}[name])
	}
	return path
}
