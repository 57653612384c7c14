// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"syscall"
	"time"
)

// nemesis is a kind of fault.
type nemesis struct {
	name string
	// strike does harm, and returns what ends it.
	strike func(c *cluster, d draw) (heal func())
	// measure tells what of the draw it uses, besides the member.
	measure func(draw) string
	// stops says that it leaves no majority: nobody need be able to write.
	stops bool
	// alone says that nothing else may be broken meanwhile.
	alone bool
	// mild says that it may come on top of another.
	mild bool
}

func nemeses() []*nemesis {
	return []*nemesis{
		{name: "kill", strike: kill},
		{name: "kill all", strike: killAll, stops: true},
		{name: "restart", strike: restart},
		{name: "storm", strike: storm, stops: true, alone: true},
		{name: "pause", strike: pause},
		{name: "cut off", strike: cutOff},
		{name: "deaf", strike: deafen},
		{name: "mute", strike: mute},
		{name: "one way", measure: second, strike: oneWay},
		{name: "bridge", measure: second, strike: bridge},
		{name: "loss at one", measure: percent, strike: lossAtOne, mild: true},
		{name: "loss everywhere", measure: percent, strike: lossEverywhere, mild: true},
		{name: "clock forward", measure: shift, strike: clockForward, mild: true},
		{name: "clock back", measure: shift, strike: clockBack, mild: true},
		{name: "full disk", strike: fillDisk, alone: true},
		{name: "new machine", strike: replace, alone: true},
	}
}

// target is the member that the fault is about.
func (d draw) target(c *cluster) *member {
	if d.leading {
		return c.healthy()
	}
	return c.members[d.member]
}

// other is a member that is not m.
func (d draw) other(c *cluster, m *member) *member {
	if d.second == m.place {
		return c.members[d.member]
	}
	return c.members[d.second]
}

func kill(c *cluster, d draw) func() {
	m := d.target(c)
	m.process.kill()
	return m.launch
}

func killAll(c *cluster, d draw) func() {
	for _, m := range c.members {
		m.process.signal(c.t, syscall.SIGKILL)
	}
	for _, m := range c.members {
		<-m.process.exited
	}
	return func() {
		for _, m := range c.members {
			m.launch()
		}
	}
}

func pause(c *cluster, d draw) func() {
	m := d.target(c)
	m.process.signal(c.t, syscall.SIGSTOP)
	return func() { m.process.signal(c.t, syscall.SIGCONT) }
}

func cutOff(c *cluster, d draw) func() {
	return c.network.cut(c.network.around(d.target(c).place)...)
}

// deafen lets a member speak, but hear nobody.
func deafen(c *cluster, d draw) func() { return c.network.cut(c.network.into(d.target(c).place)...) }

// mute lets a member hear, but nobody hears it.
func mute(c *cluster, d draw) func() { return c.network.cut(c.network.outOf(d.target(c).place)...) }

func oneWay(c *cluster, d draw) func() {
	m := d.target(c)
	return c.network.cut(way{m.place, d.other(c, m).place})
}

// bridge leaves the others to see both of two members that do not see each
// other.
func bridge(c *cluster, d draw) func() {
	m := d.target(c)
	return c.network.cut(between(m.place, d.other(c, m).place)...)
}

func lossAtOne(c *cluster, d draw) func() {
	return c.network.thin(d.percent, d.target(c).place)
}

func lossEverywhere(c *cluster, d draw) func() {
	var all []int
	for _, m := range c.members {
		all = append(all, m.place)
	}
	return c.network.thin(d.percent, all...)
}

func clockForward(c *cluster, d draw) func() { return jump(d.target(c), d.shift) }
func clockBack(c *cluster, d draw) func()    { return jump(d.target(c), -d.shift) }

func jump(m *member, shift time.Duration) func() {
	m.setClock(shift)
	return func() { m.setClock(0) }
}
