// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// fillKeys is where the values lie that fill a disk.
const fillKeys = "z/fill/"

// fillDisk takes the room from a member: first so much that it refuses writes,
// then all, until it ends. Heal gives the room back.
func fillDisk(c *cluster, d draw) func() {
	m := d.target(c)
	m.leave(reserveBytes / 2)
	tries := 0
	c.eventually("a member with little room refuses writes", func(context.Context) error {
		tries++
		if err := c.ballast(m, fmt.Sprint(m.place, " at ", c.history.now(), " ", tries)); !errors.Is(err, rpctypes.ErrNoSpace) {
			return fmt.Errorf("a put says %v", err)
		}
		return nil
	})
	m.leave(0)
	c.fill(m)
	if code := m.end(); code != 1 || !strings.Contains(m.said(), "no space left on device") {
		c.t.Errorf("member %d ended on its full disk with code %d, want 1, and said:\n%s", m.place+1, code, m.said())
	}
	return func() {
		m.mount("remount", diskBytes)
		m.launch()
	}
}

// fill writes what fills the log, at the other members, until one ends.
func (c *cluster) fill(m *member) {
	late := time.After(patience)
	dull := strings.Repeat("x", 1<<20)
	for n := 0; ; n++ {
		select {
		case <-m.process.exited:
			return
		case <-late:
			c.t.Errorf("member %d goes on without room", m.place+1)
			m.process.kill()
			return
		default:
		}
		_ = c.ballast(c.others(m)[n%2], fmt.Sprint(c.history.now(), " ", n, " ", dull)) // the history has it
	}
}
