// SPDX-License-Identifier: Apache-2.0

// Package lab boots Debian under systemd and does to it what administrators do:
// install, start, reload, upgrade, pull the plug, remove.
//
// A machine is a container of systemd-nspawn with a whole Debian in it, whose
// process 1 is the release's own systemd; the host needs none. Its root is an
// overlay over one that was made once and is kept as a tar, so that a machine
// is new in a second and nothing that a story does is there in the next. It
// has a network of its own: alone, or on a bridge with others.
//
// The packages are those that `make lab` has built: what is tested is what
// users get. Each story says whether it is told on both releases, trixie
// (systemd 257) and bookworm (252), or why one is enough.
//
// cgroup.kill is the power loss: no process says goodbye, but what the kernel
// had to write is written. That fsync is called where it must be is shown by
// test/crash and by the tests of raft and kv.
//
// All that a run makes has "cleat-lab" in its name. It is removed at the end,
// and what a killed run has left at the beginning of the next. There is one
// run at a time on a machine.
//
// It needs root, and skips itself without; as root it installs what else it needs,
// and a machine on which none can be booted fails it with the reason.
package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// mark is in the name of all that a run makes outside of its own directory.
const mark = "cleat-lab"

// patience is how long anything may take before it counts as failed; a loaded
// machine needs it, a quiet one never waits.
const patience = 60 * time.Second

var (
	session = flag.String("session", "", "write what the story of three machines was told, with its answers, to this file")
	keep    = flag.Bool("keep", false, "with -v: leave the machines of a failed story running until Ctrl-C")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

// run removes what was left before and after, on every way out that leaves
// time for it.
func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // each story skips itself with the reason
	}
	if err := lacking(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	unlock, err := alone()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	defer unlock()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ended
		_ = sweep() // the next run does what is left to do
		os.Exit(130)
	}()
	if err := sweep(); err != nil {
		fmt.Fprintln(os.Stderr, "lab: remove what an earlier run has left:", err)
		return 1
	}
	code := m.Run()
	if err := sweep(); err != nil {
		fmt.Fprintln(os.Stderr, "lab: clean up:", err)
		return 1
	}
	return code
}

// notRoot is why nothing is booted, and how it is.
const notRoot = "only root may boot machines: sudo make lab"

// lacking says why root can boot no machine here, or nothing.
func lacking() error {
	if _, err := hierarchies(); err != nil {
		return err
	}
	for program, from := range map[string]string{"ip": "iproute2", "nsenter": "util-linux", "nft": "nftables", "perl": "perl", "dpkg": "dpkg"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("machines need %s: apt-get install %s", program, from)
		}
	}
	try := exec.Command("true")
	try.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	if err := try.Run(); err != nil {
		return fmt.Errorf("machines need namespaces, and this root may not make any (%w): run it on a machine of its own, or in a container with docker run --privileged", err)
	}
	return nil
}

// alone waits until no other run uses the names and the cache.
func alone() (unlock func(), err error) {
	if err := os.MkdirAll("/run/lock", 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join("/run/lock", mark), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		fmt.Fprintln(os.Stderr, "lab: waiting for another run on this machine to end")
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return func() { _ = lock.Close() }, nil // the kernel unlocks it
}

// within is a context that ends when patience does.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually tries until it goes well, and fails with the last reason.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	late, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-late.Done():
			t.Fatalf("not in %v: %s: %v", patience, what, err)
		case <-tick.C:
		}
	}
}
