// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nodeModules is where make setup installs what test/node names.
const nodeModules = ".build/node/node_modules"

// scripted runs a script beside both, over mutual TLS, and compares what it
// prints line by line.
func scripted(t *testing.T, env []string, command ...string) {
	t.Helper()
	body := func(s *side) {
		ctx, cancel := context.WithTimeout(s.Context(), 2*patience)
		defer cancel()
		run := exec.CommandContext(ctx, command[0], append(command[1:], s.address, s.bundle)...)
		run.Env = append(os.Environ(), env...)
		var said, complained bytes.Buffer
		run.Stdout, run.Stderr = &said, &complained
		if err := run.Run(); err != nil {
			s.Fatalf("%s: %s: %v\n%s%s", s.name, strings.Join(run.Args, " "), err, &said, &complained)
		}
		for _, line := range strings.Split(strings.TrimSpace(said.String()), "\n") {
			step, outcome, _ := strings.Cut(line, ": ")
			s.note(step, outcome)
		}
	}
	alikeByCertificate(t, body)
}

// npm's client.
func TestNodeClient(t *testing.T) {
	modules, err := filepath.Abs(top(nodeModules))
	if err == nil {
		_, err = os.Stat(filepath.Join(modules, "etcd3"))
	}
	if _, missing := exec.LookPath("node"); err != nil || missing != nil {
		t.Skip("there is no etcd3 of npm's: make setup, which needs apt-get install nodejs npm") // as root it has done so
	}
	scripted(t, []string{"NODE_PATH=" + modules}, "node", "testdata/client.js")
}

// Debian's client for Python.
func TestPythonClient(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's
	if err := exec.Command(python, "-c", "import etcd3").Run(); err != nil {
		t.Skip("there is no etcd3 of Debian's for Python: apt-get install python3-etcd3") // as root `make test` has installed it
	}
	scripted(t, nil, python, "testdata/client.py")
}
