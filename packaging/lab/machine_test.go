// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// machine is a Debian with a disk of its own, which is on or off.
type machine struct {
	t    *testing.T
	name string
	dir  string // its disk, mount point and console
	base string // root that its own lies over
	port *port  // nil: it has a network for itself

	process *exec.Cmd     // nspawn, of the last start
	off     chan struct{} // closed when that has ended
	leader  atomic.Int64  // the machine's process 1 as the host sees it
}

// boot installs a new machine and turns it on. When the story ends it is
// thrown away; when the story has failed, its journal is shown before.
func boot(t *testing.T, r *release, name string) *machine { return install(t, r, name, nil) }

func install(t *testing.T, r *release, name string, at *port) *machine {
	t.Helper()
	need(t)
	m := &machine{t: t, name: name, dir: filepath.Join(work(), name), base: r.base(t), port: at}
	for _, dir := range []string{"disk", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	how := fmt.Sprintf("lowerdir=%s,upperdir=%s/disk,workdir=%s/work", m.base, m.dir, m.dir)
	if err := syscall.Mount(mark, m.root(), "overlay", 0, how); err != nil {
		t.Fatalf("mount an overlay on %s: %v", m.root(), err)
	}
	t.Cleanup(m.discard)
	m.start()
	if state := m.try("systemctl", "is-system-running").out; state != "running" {
		t.Fatalf("a new machine is %s:\n%s", state, m.try("systemctl", "--failed", "--no-pager").out)
	}
	return m
}

// root is where the host sees the machine's files, but for what the machine has
// mounted, such as /run.
func (m *machine) root() string { return filepath.Join(m.dir, "root") }

// path is a file of the machine as the host sees it.
func (m *machine) path(inside string) string { return filepath.Join(m.root(), inside) }

// start turns the machine on and returns when it is up.
func (m *machine) start() {
	m.t.Helper()
	m.launch()
	eventually(m.t, m.name+" has a process 1", func() error {
		select {
		case <-m.off:
			m.t.Fatalf("%s ended instead of booting:\n%s", m.name, m.console())
		default:
		}
		return m.findLeader()
	})
	eventually(m.t, m.name+" has booted", func() error {
		switch s := m.try("systemctl", "is-system-running"); s.out {
		case "running", "degraded": // a story may have let a unit fail
			return nil
		default:
			return fmt.Errorf("it is %q %s", s.out, s.err)
		}
	})
}

// launch starts nspawn in control groups of its own.
func (m *machine) launch() {
	m.t.Helper()
	tools, err := tools()
	if err != nil {
		m.t.Fatal(err)
	}
	libraries, err := filepath.Glob(filepath.Join(tools, "usr/lib/*-linux-*"))
	if err != nil || len(libraries) != 1 {
		m.t.Fatalf("libraries of the tools: %v %v", libraries, err)
	}
	console, err := os.OpenFile(filepath.Join(m.dir, "console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer console.Close()
	network := "--private-network"
	if m.port != nil {
		network = "--network-namespace-path=/run/netns/" + m.port.space
	}
	// The capabilities and bpf are what IPAddressDeny= needs.
	c := exec.Command("sh", "-ec", `for group in $GROUPS_OF_IT; do echo $$ >"$group/cgroup.procs"; done; exec "$@"`, "sh",
		filepath.Join(tools, "usr/bin/systemd-nspawn"), "--quiet", "--boot", "--directory="+m.root(), "--machine="+mark+"-"+m.name,
		"--hostname="+m.name, "--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=read-only",
		"--capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN,CAP_IPC_LOCK", "--system-call-filter=bpf", network)
	c.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "LD_LIBRARY_PATH="+libraries[0]+"/systemd:"+libraries[0],
		"GROUPS_OF_IT="+strings.Join(m.groups(), " "))
	c.Stdout, c.Stderr = console, console
	// What a killed run leaves is not left running.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	for _, group := range m.groups() {
		if err := os.MkdirAll(group, 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	off := make(chan struct{})
	go func() {
		_ = c.Wait() // the state tells
		close(off)
	}()
	m.process, m.off = c, off
}

// groups are the machine's control groups, that of version 2 first.
func (m *machine) groups() []string {
	groups, err := hierarchies()
	if err != nil {
		m.t.Fatal(err)
	}
	for i, h := range groups {
		groups[i] = filepath.Join(h, mark, m.name)
	}
	return groups
}

// findLeader looks for nspawn's child that has become systemd.
func (m *machine) findLeader() error {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", m.process.Process.Pid))
	if err != nil {
		return err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			return err
		}
		for _, pid := range strings.Fields(string(text)) {
			comm, err := os.ReadFile("/proc/" + pid + "/comm")
			if err == nil && strings.TrimSpace(string(comm)) == "systemd" {
				number, err := strconv.Atoi(pid)
				m.leader.Store(int64(number))
				return err
			}
		}
	}
	return errors.New("nspawn has no such child")
}

// on says whether the machine is turned on.
func (m *machine) on() bool {
	select {
	case <-m.off:
		return false
	default:
		return m.leader.Load() != 0
	}
}

// gone waits until the machine is off, and removes its control groups.
func (m *machine) gone() {
	m.t.Helper()
	select {
	case <-m.off:
	case <-time.After(patience):
		m.t.Errorf("%s does not end", m.name)
	}
	m.leader.Store(0)
	for _, group := range m.groups() {
		if err := dissolve(group); err != nil {
			m.t.Errorf("%s: %v", m.name, err)
		}
	}
}

// cutPower ends every process of the machine at once.
func (m *machine) cutPower() {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.groups()[0], "cgroup.kill"), []byte("1"), 0); err != nil {
		m.t.Fatal(err)
	}
	m.gone()
}

// powerOff shuts the machine down in order.
func (m *machine) powerOff() {
	m.t.Helper()
	const poweroff = 34 + 4 // SIGRTMIN+4
	if err := syscall.Kill(int(m.leader.Load()), syscall.Signal(poweroff)); err != nil {
		m.t.Fatal(err)
	}
	m.gone()
}

// reboot shuts the machine down in order, and turns it on again: nspawn leaves
// that to whoever has started it.
func (m *machine) reboot() {
	m.t.Helper()
	m.run("systemctl", "reboot")
	m.gone()
	m.start()
}

// discard throws the machine away.
func (m *machine) discard() {
	if m.t.Failed() {
		m.tell()
		m.linger()
	}
	if m.on() {
		m.cutPower()
	}
	if err := unmount(m.root()); err != nil {
		m.t.Error(err)
	}
	if err := os.RemoveAll(m.dir); err != nil {
		m.t.Error(err)
	}
}

// tell shows what a failed story needs for an explanation.
func (m *machine) tell() {
	journal := []string{"journalctl", "--no-pager", "--quiet", "-n", "120", "-o", "short-precise"}
	if m.on() {
		m.t.Logf("units of %s:\n%s", m.name, m.try("systemctl", "--no-pager", "--full", "-n", "0", "status", "cleat*").out)
		m.t.Logf("journal of %s:\n%s", m.name, m.try(append(journal, "-u", "cleat*")...).out)
		return
	}
	said, err := exec.Command("chroot", append([]string{m.root()}, journal...)...).CombinedOutput()
	m.t.Logf("%s is off; its console:\n%s\nits journal (%v):\n%s", m.name, m.console(), err, said)
}

// linger leaves the machine to whoever wants to look into it.
func (m *machine) linger() {
	if !*keep || !m.on() {
		return
	}
	fmt.Fprintf(os.Stderr, "lab: %s is up until Ctrl-C: nsenter -at %d\n", m.name, m.leader.Load())
	select {} // the signal's handler cleans up
}

func (m *machine) console() string {
	text, err := os.ReadFile(filepath.Join(m.dir, "console"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}
