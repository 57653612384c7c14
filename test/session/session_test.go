// SPDX-License-Identifier: Apache-2.0

package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var clients = map[string]string{"cleatctl": cleatctl, "etcdctl37": etcdctl, "etcdctl34": debianCtl}

// The scripts are true of etcd itself.
func TestSessionAgainstEtcd(t *testing.T) {
	for name, path := range clients {
		t.Run(name, func(t *testing.T) {
			play(t, path, func() []string { return []string{"--endpoints=" + startEtcd(t)} })
		})
	}
}

func TestSessionOverTheSocket(t *testing.T) {
	for name, path := range clients {
		t.Run(name, func(t *testing.T) {
			play(t, path, func() []string {
				m := startCleatd(t)
				if path == cleatctl {
					return []string{"--socket=" + m.socket}
				}
				return []string{"--endpoints=unix://" + m.socket}
			})
		})
	}
}

func TestSessionOverMutualTLS(t *testing.T) {
	for name, path := range clients {
		t.Run(name, func(t *testing.T) {
			play(t, path, func() []string {
				m := startCleatd(t)
				return append([]string{"--endpoints=https://" + m.client}, m.issue(t)...)
			})
		})
	}
}

// play runs every script with one client, each against a fresh server. In the
// scripts the client is called ctl; connect starts a server and says how the
// client reaches it.
func play(t *testing.T, client string, connect func() []string) {
	t.Parallel()
	path, flags := program(t, client), connect()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ETCDCTL_API", "3")
			env.Setenv("TTL", "3")
			env.Setenv("KEPT", "3")
			if *letter {
				env.Setenv("TTL", "10")
				env.Setenv("KEPT", "60")
			}
			env.Setenv("PATH", env.WorkDir+"/bin:"+os.Getenv("PATH"))
			return writeWrapper(filepath.Join(env.WorkDir, "bin"), path, flags)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"capture": capture, "await": await, "until": until, "watching": watching,
		},
	})
}

// writeWrapper makes the program ctl, which becomes the client with its flags.
func writeWrapper(dir, path string, flags []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("#!/bin/sh\nexec '%s' '%s' \"$@\"\n", path, strings.Join(flags, "' '"))
	return os.WriteFile(filepath.Join(dir, "ctl"), []byte(text), 0o755)
}

// capture NAME REGEXP puts the first group, found in the last stdout, into a
// variable.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("%s is not in %q", args[1], ts.ReadFile("stdout"))
	}
	ts.Setenv(args[0], found[1])
}

// await FILE REGEXP waits until a file, which another process writes, matches.
func await(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[1])
	poll(ts, func() error {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && !pattern.Match(content) {
			err = fmt.Errorf("%s does not match %s, it is:\n%s", args[0], args[1], content)
		}
		return err
	})
}

// until REGEXP PROGRAM ARG... runs a program until its stdout matches.
func until(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	poll(ts, func() error {
		out, err := ctl(ts, args[1:]...)
		if err == nil && !pattern.Match(out) {
			err = fmt.Errorf("%q prints %q, which does not match %s", args[1:], out, args[0])
		}
		return err
	})
}

// watching FILE KEY puts KEY until a watch that writes to FILE has seen it: no
// client tells otherwise that its watch has begun.
func watching(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, func() error {
		if out, err := ctl(ts, "ctl", "put", args[1], "seen"); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && !strings.Contains(string(content), args[1]) {
			err = fmt.Errorf("no %s in %s yet: %s", args[1], args[0], content)
		}
		return err
	})
}

// ctl runs a program of the script's PATH and environment.
func ctl(ts *testscript.TestScript, args ...string) ([]byte, error) {
	command := exec.Command(ts.MkAbs(filepath.Join(ts.Getenv("WORK"), "bin", args[0])), args[1:]...)
	command.Env = []string{"ETCDCTL_API=3", "PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME")}
	return command.Output()
}

func poll(ts *testscript.TestScript, try func() error) {
	deadline := time.Now().Add(2 * patience)
	err := try()
	for ; err != nil; err = try() {
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
		<-time.After(50 * time.Millisecond)
	}
}
