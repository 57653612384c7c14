// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"
)

// gust is the longest time between two faults of a storm: most come before the
// members have got over the last.
const gust = 700 * time.Millisecond

// storm lets faults come and go without waiting for anything. It is over when
// it returns; heal brings back whom it has left killed or stopped.
func storm(c *cluster, d draw) (heal func()) {
	chance := rand.New(rand.NewPCG(d.storm, 0))
	heals := make([]func(), len(c.members)) // one fault at a member at a time
	end := func(place int) {
		if heals[place] != nil {
			heals[place]()
			heals[place] = nil
		}
	}
	for over := time.After(d.hold); ; {
		place, kind, pause := chance.IntN(len(c.members)), chance.IntN(10), time.Duration(chance.Int64N(int64(gust)))
		end(place)
		heals[place] = c.strikeOne(c.members[place], kind)
		select {
		case <-time.After(pause):
		case <-over:
			return func() {
				for place := range heals {
					end(place)
				}
			}
		}
	}
}

// strikeOne does one kind of harm to a member, or none.
func (c *cluster) strikeOne(m *member, kind int) (heal func()) {
	switch kind {
	case 0:
		m.process.kill()
		return m.launch
	case 1:
		m.process.signal(c.t, syscall.SIGSTOP)
		return func() { m.process.signal(c.t, syscall.SIGCONT) }
	case 2:
		return c.network.cut(c.network.around(m.place)...)
	case 3:
		return c.network.cut(c.network.into(m.place)...)
	case 4:
		return c.network.cut(c.network.outOf(m.place)...)
	case 5:
		ctx, cancel := context.WithTimeout(c.t.Context(), gust)
		defer cancel()
		_, _ = m.client.MoveLeader(ctx, c.members[(m.place+1)%len(c.members)].id) // only a leader can
	}
	return nil // a lull for this member
}

// inHaste is what a member says that could not end in order, as where what was
// cut before has left its connections waiting.
const inHaste = "the log has everything that was acknowledged"

// restart stops a member in order, and starts it again.
func restart(c *cluster, d draw) func() {
	m := d.target(c)
	m.process.signal(c.t, syscall.SIGTERM)
	if code := m.end(); code != 0 && !(code == 1 && strings.Contains(m.said(), inHaste)) {
		c.t.Errorf("member %d was stopped and ended with code %d, and said:\n%s", m.place+1, code, m.said())
	}
	return m.launch
}
