// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// alone runs the tests without what the caller's environment, and contexts, tell
// clients.
type alone struct{ *testing.M }

func (a alone) Run() int {
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "ETCDCTL_") || strings.HasPrefix(variable, "CLEATCTL_") {
			name, _, _ := strings.Cut(variable, "=")
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("XDG_CONFIG_HOME", "/nonexistent")
	return a.M.Run()
}

// TestMain lets the test binary be cleatctl: for a shell's scripts under that
// name, and for a test with CLEATCTL_TEST_MAIN=1.
func TestMain(m *testing.M) {
	if os.Getenv("CLEATCTL_TEST_MAIN") == "1" {
		_ = os.Unsetenv("CLEATCTL_TEST_MAIN")
		os.Exit(Main(append([]string{"cleatctl"}, os.Args[1:]...), os.Stdin, os.Stdout, os.Stderr))
	}
	testscript.Main(alone{m}, map[string]func(){
		"cleatctl": func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// The scripts are what needs a shell to be seen and no member: those that need
// one are in test/session.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true})
}
