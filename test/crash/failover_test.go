// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"flag"
	"slices"
	"testing"
	"time"
)

var failovers = flag.Int("failovers", 3, "how often to kill the leader of three members under load")

// TestNothingIsLostWhenLeadersDie also tells for how long nobody could write.
func TestNothingIsLostWhenLeadersDie(t *testing.T) {
	c := startTrio(t)
	w, stop := c.write()
	defer stop()
	var pauses []time.Duration
	for range *failovers {
		leader := c.healthy()
		w.since(t, time.Now(), 100)
		killed := time.Now()
		c.members[leader].kill()
		pauses = append(pauses, w.since(t, killed, 200).Round(time.Millisecond))
		c.members[leader] = c.homes[leader].start(t)
	}
	c.healthy()
	stop()
	w.check(c)
	slices.Sort(pauses)
	t.Logf("fail-over: p50 %v, p99 %v without an acknowledged write; %d leaders were killed, %d writes acknowledged, %d of unknown outcome",
		pauses[len(pauses)/2], pauses[len(pauses)*99/100], len(pauses), len(w.acked), len(w.failures))
}

// TestNobodyNoticesARollingRestart stops members in order, one after the other.
// No request of plain clients may fail, at the sockets or over TLS: puts, gets
// and transactions, a watch that sees each change once, a lease that is kept
// alive.
func TestNobodyNoticesARollingRestart(t *testing.T) {
	c := startTrio(t)
	w, stop := c.write()
	defer stop()
	w.since(t, time.Now(), 100)
	leave := c.accompany(w)
	defer leave()
	lives := slices.Clone(c.members[:])
	var pauses []time.Duration
	t.Cleanup(func() {
		for _, life := range lives {
			if t.Failed() || slices.Max(append(pauses, 0)) > 500*time.Millisecond {
				t.Logf("%s:\n%s", life.home.dir, life.said())
			}
		}
	})
	for range 2 {
		for i := range c.members {
			began := time.Now()
			c.term(i)
			c.members[i] = c.homes[i].start(t)
			lives = append(lives, c.members[i])
			back := time.Now()
			c.healthy()
			pauses = append(pauses, w.since(t, began, 100).Round(time.Millisecond))
			w.meet(t, c.ids[i], back)
		}
	}
	stop()
	said := leave()
	if err := w.failed(); err != nil {
		t.Errorf("%d of %d requests failed: %v", len(w.failures), len(w.acked)+len(w.failures), err)
	}
	w.check(c)
	t.Logf("rolling restart: longest time without an acknowledged write %v, longest request of a writer %v; all three were restarted twice during %d puts, %s",
		slices.Max(pauses), slices.Max(w.longest[:]).Round(time.Millisecond), len(w.acked), said)
	t.Logf("each pause: %v; longest request of each writer: %v", pauses, w.longest)
}
