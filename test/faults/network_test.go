// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// network joins namespaces, one for each member, by a bridge in another. Its
// addresses are of the range kept for benchmarks, and lead nowhere else.
type network struct {
	t     *testing.T
	names []string // of the members' namespaces

	mu   sync.Mutex
	cuts map[way]int // how many faults cut it
	loss []int       // percent of what comes to a member
}

// way is one direction between two members, by their places.
type way struct{ from, to int }

// spaces makes the names of a process's networks differ.
var spaces atomic.Int32

func newNetwork(t *testing.T, members int) *network {
	t.Helper()
	sweep(t)
	n := &network{t: t, cuts: map[way]int{}, loss: make([]int, members)}
	prefix := fmt.Sprintf("%s%d-%d-", ownPrefix, os.Getpid(), spaces.Add(1))
	hub := prefix + "hub"
	n.open(hub)
	ip(t, "-n", hub, "link", "add", "bridge", "type", "bridge")
	ip(t, "-n", hub, "link", "set", "bridge", "up")
	for place := range members {
		name, port := fmt.Sprint(prefix, place), fmt.Sprint("port", place)
		n.open(name)
		n.names = append(n.names, name)
		ip(t, "-n", hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
		ip(t, "-n", hub, "link", "set", port, "master", "bridge", "up")
		ip(t, "-n", name, "link", "set", "lo", "up")
		ip(t, "-n", name, "addr", "add", address(place)+"/24", "dev", "eth0")
		ip(t, "-n", name, "link", "set", "eth0", "up")
	}
	return n
}

func (n *network) open(name string) {
	n.t.Helper()
	ip(n.t, "netns", "add", name)
	n.t.Cleanup(func() { ip(n.t, "netns", "del", name) })
}

// address is a member's, by its place.
func address(place int) string { return fmt.Sprint("198.18.0.", place+1) }

func ip(t testing.TB, args ...string) string {
	t.Helper()
	said, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, said)
	}
	return string(said)
}

// cut lets nothing pass on the ways, until heal.
func (n *network) cut(ways ...way) (heal func()) {
	n.change(ways, 1)
	return func() { n.change(ways, -1) }
}

func (n *network) change(ways []way, by int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range ways {
		n.cuts[w] += by
	}
	for _, w := range ways {
		n.applyLocked(w.to)
	}
}

// thin loses some of what comes to the members, until heal.
func (n *network) thin(percent int, members ...int) (heal func()) {
	set := func(percent int) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, m := range members {
			n.loss[m] = percent
			n.applyLocked(m)
		}
	}
	set(percent)
	return func() { set(0) }
}

// applyLocked gives a member's namespace its rules anew.
func (n *network) applyLocked(member int) {
	var rules strings.Builder
	fmt.Fprintln(&rules, "table inet faults\ndelete table inet faults\ntable inet faults { chain input {")
	fmt.Fprintln(&rules, "type filter hook input priority 0; policy accept;")
	for w, faults := range n.cuts {
		if w.to == member && faults > 0 {
			fmt.Fprintln(&rules, "ip saddr", address(w.from), "drop")
		}
	}
	if n.loss[member] > 0 {
		fmt.Fprintln(&rules, "iifname eth0 numgen random mod 100 <", strconv.Itoa(n.loss[member]), "drop")
	}
	fmt.Fprintln(&rules, "}\n}")
	c := exec.Command("ip", "netns", "exec", n.names[member], "nft", "-f", "-")
	c.Stdin = strings.NewReader(rules.String())
	if said, err := c.CombinedOutput(); err != nil {
		n.t.Errorf("nft: %v: %s", err, said)
	}
}

// between is both ways between two members.
func between(a, b int) []way { return []way{{a, b}, {b, a}} }

// around is all ways to and from a member.
func (n *network) around(member int) []way { return append(n.into(member), n.outOf(member)...) }

func (n *network) into(member int) (ways []way) {
	for other := range n.names {
		if other != member {
			ways = append(ways, way{other, member})
		}
	}
	return ways
}

func (n *network) outOf(member int) (ways []way) {
	for _, w := range n.into(member) {
		ways = append(ways, way{w.to, w.from})
	}
	return ways
}
