// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// restart ends the leadership, lets some time pass, and begins another from
// what is on disk.
func (m *member) restart(stop func(), off time.Duration) (again func()) {
	m.t.Helper()
	stop()
	time.Sleep(off)
	m.open()
	return m.lead()
}

// A checkpoint counts whole seconds. It must not take the part of a second
// that is left, least of all when the restart comes right behind it.
func TestRestartBehindACheckpointIsNotEarly(t *testing.T) {
	for _, part := range []time.Duration{0, tick, time.Second / 3, time.Second - tick} {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			story(t, func(t *testing.T, m *member) {
				stop := m.lead()
				m.grant(1, 1000)
				m.grant(2, 300) // its expiry holds up the checkpoint
				end := time.Now().Add(1000 * time.Second)
				release := m.holdProposals()
				time.Sleep(checkpointInterval + part)
				release()
				synctest.Wait()
				if len(m.checkpoints) != 1 {
					t.Fatalf("checkpoints %v, want one", m.checkpoints)
				}
				defer m.restart(stop, 0)()
				time.Sleep(time.Until(end) - tick)
				m.wantAlive(1, true)
				time.Sleep(time.Second) // what the rounding gave
				m.wantAlive(1, false)
			})
		})
	}
}

// The worst that restarts can do is to come just before a lease ends, or just
// before its checkpoint: each gives back at most the time since then.
func TestEachRestartIsLateByAtMostOneLife(t *testing.T) {
	for _, test := range []struct {
		name  string
		ttl   int64
		every time.Duration // between restarts
		lost  time.Duration // what a restart gives back
	}{
		{"a short lease, at its end", 60, 60*time.Second - tick, 60*time.Second - tick},
		{"a long lease, before its checkpoint", 3600, checkpointInterval - tick, checkpointInterval - tick},
		{"a long lease, behind its checkpoint", 3600, checkpointInterval + tick, tick},
	} {
		t.Run(test.name, func(t *testing.T) {
			story(t, func(t *testing.T, m *member) {
				const restarts, off = 3, time.Hour
				stop := m.lead()
				m.grant(1, test.ttl)
				end := time.Now().Add(seconds(test.ttl))
				for range restarts {
					time.Sleep(test.every)
					m.wantAlive(1, true)
					stop = m.restart(stop, off)
					end = end.Add(off + test.lost)
					if test.lost > seconds(test.ttl) {
						t.Fatal("the test allows too much")
					}
				}
				defer func() { stop() }()
				time.Sleep(time.Until(end) - tick)
				m.wantAlive(1, true)
				time.Sleep(tick)
				m.wantAlive(1, false)
			})
		})
	}
}

// A lease that ran out while nobody led is not dead: nobody measured. One that
// had run out before is found again, and gets no more than its time.
func TestExpiryThatWasNotAppliedIsMadeUpFor(t *testing.T) {
	story(t, func(t *testing.T, m *member) {
		stop := m.lead()
		m.grant(1, 10)
		release := m.holdProposals()
		time.Sleep(10 * time.Second) // its expiry is proposed and never applied
		stop()
		release()
		m.wantAlive(1, true)
		m.open()
		defer m.lead()()
		time.Sleep(10*time.Second - tick)
		m.wantAlive(1, true)
		time.Sleep(tick)
		m.wantAlive(1, false)
	})
}
