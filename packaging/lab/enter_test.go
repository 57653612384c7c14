// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// said is what a command has said, without the last line's end.
type said struct {
	out, err string
	code     int
}

func (s said) String() string {
	return fmt.Sprintf("exit code %d\nstdout: %s\nstderr: %s", s.code, s.out, s.err)
}

// try runs a command as root in the machine, as if after a login on its console.
func (m *machine) try(args ...string) said { return m.feed("", args...) }

// feed does so with something to read.
func (m *machine) feed(stdin string, args ...string) said {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.t.Context()), patience) // a failed story still asks
	defer cancel()
	c := exec.CommandContext(ctx, "nsenter", append([]string{"--target", fmt.Sprint(m.leader.Load()),
		"--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
		"env", "-i", "-C", "/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER="},
		args...)...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatalf("%s: %s: %v", m.name, strings.Join(args, " "), err)
	}
	return said{strings.TrimRight(out.String(), "\n"), strings.TrimRight(errs.String(), "\n"), c.ProcessState.ExitCode()}
}

// run runs a command that must go well, and returns what it printed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	s := m.try(args...)
	if s.code != 0 {
		m.t.Fatalf("%s# %s: %v", m.name, strings.Join(args, " "), s)
	}
	return s.out
}

// sh runs a line of shell that must go well.
func (m *machine) sh(line string) string {
	m.t.Helper()
	return m.run("sh", "-ec", line)
}

// refuse runs a command that must fail, and returns what it said to people.
func (m *machine) refuse(args ...string) string {
	m.t.Helper()
	s := m.try(args...)
	if s.code == 0 {
		m.t.Fatalf("%s# %s went well: %v", m.name, strings.Join(args, " "), s)
	}
	return s.err
}

// as runs a command as another user, with the groups that a login would give.
func (m *machine) as(user string, args ...string) said {
	m.t.Helper()
	return m.try(append([]string{"runuser", "-u", user, "--"}, args...)...)
}

// property is one of a unit's, as systemctl show knows it.
func (m *machine) property(unit, name string) string {
	m.t.Helper()
	return m.run("systemctl", "show", "--value", "-p", name, unit)
}

// await waits until a unit's property has a value.
func (m *machine) await(unit, name, want string) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%s: %s of %s is %q", m.name, name, unit, want), func() error {
		if is := m.property(unit, name); is != want {
			return fmt.Errorf("it is %q", is)
		}
		return nil
	})
}

// journal is what the journal has of this boot, in lines of the message alone.
func (m *machine) journal(args ...string) string {
	m.t.Helper()
	m.run("journalctl", "--sync")
	return m.run(append([]string{"journalctl", "--quiet", "--no-pager", "-b", "-o", "cat"}, args...)...)
}

// put writes a file of the machine.
func (m *machine) put(path, text string) {
	m.t.Helper()
	to := m.path(path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// bring copies files of the host into root's home of the machine, and returns
// their names there.
func (m *machine) bring(files ...string) []string {
	m.t.Helper()
	var names []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			m.t.Fatal(err)
		}
		names = append(names, filepath.Base(file))
		if err := os.WriteFile(m.path(filepath.Join("/root", filepath.Base(file))), text, 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	return names
}

// want compares what was said with a part that must be in it.
func want(t testing.TB, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("want %q in:\n%s", part, text)
	}
}
