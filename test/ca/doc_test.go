// SPDX-License-Identifier: Apache-2.0

// Package ca has the clients of others do at the ca door what their users do:
// smallstep's step, and over ACME lego and certbot as Debian has them, against a
// cluster of three whose members answer in turn.
//
// Servers that http-01 asks listen at port 80, so as root all of it happens in a
// network and with an /etc/hosts of its own; others skip what needs that. A program
// that is missing fails the test of root, with the command that brings it.
package ca

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// inside says to the test's second life that it is in a network of its own.
const inside = "CLEAT_TEST_CA_INSIDE"

// names are those that ACME is asked for, and where they are.
var names = map[string]string{"lego.example.internal": "127.0.0.21", "certbot.example.internal": "127.0.0.22"}

func TestMain(m *testing.M) {
	if door := os.Getenv(knocking); door != "" {
		if err := knock(door); err != nil {
			fmt.Fprintln(os.Stderr, "ca: strangers:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	if err := settle(); err != nil {
		fmt.Fprintln(os.Stderr, "ca: a network of its own:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// again runs the tests anew where the network and the mounts are their own.
func again() int {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), inside+"=1")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := c.Run(); err != nil && c.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "ca: a network of its own:", err)
		return 1
	}
	return c.ProcessState.ExitCode()
}

func settle() error {
	if text, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, text)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cleat")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the mount keeps the file
	text := "127.0.0.1 localhost\n"
	for name, address := range names {
		text += address + " " + name + "\n"
	}
	hosts := filepath.Join(dir, "hosts")
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		return err
	}
	return syscall.Mount(hosts, "/etc/hosts", "", syscall.MS_BIND, "")
}

// built returns the path of a program that make has left in the checkout.
func built(t testing.TB, path, target string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", path))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: run make %s", err, target)
	}
	return path
}

// installed returns the path of a Debian program.
func installed(t testing.TB, program string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root has a network of its own, where port 80 is free")
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%v: run make setup", err)
	}
	return path
}

// run runs a program and returns what it said.
func run(t testing.TB, env []string, path string, args ...string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), path, args...)
	c.Env = append(os.Environ(), env...)
	text, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", filepath.Base(path), strings.Join(args, " "), err, text)
	}
	return string(text), err
}
