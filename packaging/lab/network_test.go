// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// network is a switch in a namespace of its own, to which machines are wired.
type network struct {
	t     *testing.T
	hub   string
	ports int
}

// port is where a machine is wired: what it has for a network card lies in a
// namespace that outlives the machine's reboots.
type port struct {
	network *network
	space   string
	plug    string // the switch's end of the cable
	address string
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	need(t)
	n := &network{t: t, hub: mark + "-hub"}
	n.open(n.hub)
	n.ip("-n", n.hub, "link", "add", "bridge", "type", "bridge")
	n.ip("-n", n.hub, "link", "set", "bridge", "up")
	return n
}

// wire lays the next cable; the first machine is 10.0.0.1.
func (n *network) wire() *port {
	n.t.Helper()
	n.ports++
	p := &port{n, fmt.Sprint(mark, "-", n.ports), fmt.Sprint("port", n.ports), fmt.Sprint("10.0.0.", n.ports)}
	n.open(p.space)
	n.ip("-n", n.hub, "link", "add", p.plug, "type", "veth", "peer", "name", "eth0", "netns", p.space)
	n.ip("-n", n.hub, "link", "set", p.plug, "master", "bridge", "up")
	n.ip("-n", p.space, "link", "set", "lo", "up")
	n.ip("-n", p.space, "addr", "add", p.address+"/24", "dev", "eth0")
	n.ip("-n", p.space, "link", "set", "eth0", "up")
	return p
}

// cut pulls the cable, until heal.
func (p *port) cut() (heal func()) {
	p.network.t.Helper()
	p.network.ip("-n", p.network.hub, "link", "set", p.plug, "down")
	return func() { p.network.ip("-n", p.network.hub, "link", "set", p.plug, "up") }
}

func (n *network) open(space string) {
	n.t.Helper()
	n.ip("netns", "add", space)
	n.t.Cleanup(func() { n.ip("netns", "del", space) })
}

func (n *network) ip(args ...string) {
	n.t.Helper()
	if said, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, said)
	}
}

// dialUnix connects to a Unix socket of the machine, as root.
func (m *machine) dialUnix(ctx context.Context, path string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/%d/root%s", m.leader.Load(), path))
}

// dialTCP connects from the machine to an address, as a program in it would.
// Whoever opens a socket on a thread in a namespace has it there for good.
func (m *machine) dialTCP(ctx context.Context, address string) (conn net.Conn, err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	away, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.leader.Load()))
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer away.Close()
	if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	conn, err = new(net.Dialer).DialContext(ctx, "tcp", address)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, errors.Join(err, back) // and the thread ends with its goroutine
	}
	runtime.UnlockOSThread()
	return conn, err
}
