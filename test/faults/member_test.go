// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// member is a place in the cluster: a namespace, a disk, a clock, and the
// process that runs there at the moment.
type member struct {
	t       *testing.T
	place   int
	space   string // its network namespace
	program string
	base    string // path that its files begin with
	machine int    // how many machines have stood here
	process *process
	client  *clientv3.Client // the test's own, not the clients'
	id      uint64
}

// process is one life of a member.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

// diskBytes is the size of a member's disk; only what is used takes memory.
const diskBytes = 2 << 30

// reserveBytes is the free disk below which a member refuses writes.
const reserveBytes = 32 << 20

func newMember(t *testing.T, dir string, place int, space, program string) *member {
	t.Helper()
	m := &member{t: t, place: place, space: space, program: program, base: filepath.Join(dir, fmt.Sprint("m", place+1))}
	if err := os.Mkdir(m.disk(), 0o700); err != nil {
		t.Fatal(err)
	}
	m.mount("", diskBytes)
	t.Cleanup(func() {
		if t.Failed() {
			m.keep()
		}
		_ = syscall.Unmount(m.disk(), syscall.MNT_DETACH)
	})
	m.setClock(0)
	m.client = newClient(t, m.door())
	return m
}

// keep saves what is on the disk from its end.
func (m *member) keep() {
	if said, err := exec.Command("cp", "-r", m.disk(), m.base+".kept").CombinedOutput(); err != nil {
		m.t.Logf("keep %s: %v: %s", m.disk(), err, said)
	}
}

func (m *member) disk() string { return m.base }

// socket is where the machine that stands here listens; door is the path that
// clients know, which leads to it once it is one of the cluster.
func (m *member) socket() string { return fmt.Sprint(m.base, "-", m.machine, ".sock") }
func (m *member) door() string   { return m.base + ".sock" }

func (m *member) mount(how string, bytes int64) {
	m.t.Helper()
	flags := uintptr(0)
	if how == "remount" {
		flags = syscall.MS_REMOUNT
	}
	if err := syscall.Mount("none", m.disk(), "tmpfs", flags, fmt.Sprintf("size=%d", bytes)); err != nil {
		m.t.Fatalf("mount a tmpfs of %d bytes: %v", bytes, err)
	}
}

// leave makes the disk so small that only so much is free.
func (m *member) leave(free int64) {
	m.t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(m.disk(), &st); err != nil {
		m.t.Fatal(err)
	}
	m.mount("remount", int64(st.Blocks-st.Bfree)*st.Bsize+free)
}

// setClock moves the member's wall clock, by whole seconds from the true time.
func (m *member) setClock(shift time.Duration) {
	m.t.Helper()
	f, err := os.OpenFile(m.base+".clock", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	seconds := int64(shift / time.Second)
	if _, err := f.Write(binary.NativeEndian.AppendUint64(nil, uint64(seconds))); err != nil {
		m.t.Fatal(err)
	}
}

// launch starts a process and does not wait for it. The program takes the
// place of ip, so that signals reach it. Every third member has its log in
// boltdb.
func (m *member) launch() {
	m.t.Helper()
	log, err := os.OpenFile(m.base+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	p := &process{exited: make(chan struct{})}
	p.cmd = exec.Command("ip", "netns", "exec", m.space, m.program,
		fmt.Sprint("--name=m", m.place+1), "--data-dir="+filepath.Join(m.disk(), "data"), "--socket="+m.socket(),
		"--advertise="+address(m.place), "--listen-peer="+address(m.place)+":2380", "--listen-client=127.0.0.1:2379",
		fmt.Sprint("--reserve-bytes=", reserveBytes), "--watch-progress-interval=1s",
		"--raft-log="+[]string{"wal", "wal", "boltdb"}[m.place%3])
	p.cmd.Env = append(os.Environ(), "CLEAT_FAULT_CLOCK="+m.base+".clock")
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// What this test leaves when it is itself killed ends with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the state tells
		close(p.exited)
	}()
	m.process = p
	m.t.Cleanup(p.kill)
}

// kill ends the process at once, and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already when it was killed before
	<-p.exited
}

func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) { // another fault may have ended it
		t.Errorf("signal %v: %v", s, err)
	}
}

// end waits until the process has ended by itself, and returns its exit code.
func (m *member) end() int {
	m.t.Helper()
	select {
	case <-m.process.exited:
	case <-time.After(patience):
		m.t.Fatalf("member %d does not end; it said:\n%s", m.place+1, m.said())
	}
	return m.process.cmd.ProcessState.ExitCode()
}

// said is the end of what the member has said.
func (m *member) said() string {
	text, err := os.ReadFile(m.base + ".log")
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// open leads clients to the machine that stands here now; shut to none.
func (m *member) open() {
	m.t.Helper()
	if err := os.Symlink(filepath.Base(m.socket()), m.door()); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) shut() {
	m.t.Helper()
	if err := os.Remove(m.door()); err != nil {
		m.t.Fatal(err)
	}
}

// ctl runs cleatctl at the member.
func (m *member) ctl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, program(m.t, "bin", "cleatctl"), append([]string{"--socket", m.socket()}, args...)...)
	said, err := c.Output()
	if exit, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("cleatctl %s: %w: %s", args[0], err, exit.Stderr)
	}
	return string(said), err
}

// newClient is one that comes back soon to a member that was away.
func newClient(t testing.TB, socket string) *clientv3.Client {
	t.Helper()
	soon := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"unix://" + socket}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: time.Second})},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
