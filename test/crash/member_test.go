// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// patience is how long anything may take before it counts as failed; a loaded
// machine needs it, a quiet one never waits.
const patience = 60 * time.Second

// home is a member's directory, which outlives its processes.
type home struct {
	dir   string
	flags []string
}

func newHome(t testing.TB, flags ...string) home {
	t.Helper()
	// Not below t.TempDir, whose long names a socket's path has no room for.
	dir, err := os.MkdirTemp("", "cleat")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the directory is kept: %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	return home{dir, flags}
}

func (h home) socket() string { return filepath.Join(h.dir, "cleat.sock") }

// process is one life of a member.
type process struct {
	home   home
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone

	mu   sync.Mutex
	text bytes.Buffer  // under mu: what it said
	more chan struct{} // holds a token after each write
}

// launch starts a process and does not wait for it.
func (h home) launch(t testing.TB) *process {
	t.Helper()
	p := &process{home: h, exited: make(chan struct{}), more: make(chan struct{}, 1)}
	p.cmd = exec.Command(program(t), append([]string{
		"--name=one", "--data-dir=" + filepath.Join(h.dir, "data"),
		"--socket=" + h.socket(), "--listen-client=127.0.0.1:0",
	}, h.flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	// What this test leaves when it is itself killed ends with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the state tells
		close(p.exited)
	}()
	t.Cleanup(p.kill)
	return p
}

// start returns when the member serves.
func (h home) start(t testing.TB) *process {
	t.Helper()
	p := h.launch(t)
	if !p.await(t) {
		t.Fatalf("cleatd ended with %v and said:\n%s", p.cmd.ProcessState, p.said())
	}
	return p
}

// await says whether the member has come to serve, or has ended before.
func (p *process) await(t testing.TB) bool {
	t.Helper()
	late := time.After(patience)
	for !p.isReady() {
		select {
		case <-p.more:
		case <-p.exited:
			return p.isReady()
		case <-late:
			t.Fatalf("cleatd is not ready, but said:\n%s", p.said())
		}
	}
	return true
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default: // it holds one
	}
	return p.text.Write(b)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func (p *process) isReady() bool { return strings.Contains(p.said(), "msg=ready") }

// kill ends the process at once, and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already when it was killed before
	<-p.exited
}

// client is one that is closed by the caller, before the next process begins:
// nothing of this life may reach the next.
func (p *process) client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"unix://" + p.home.socket()}, DialTimeout: patience, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
