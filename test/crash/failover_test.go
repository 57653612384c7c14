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
	t.Logf("%d leaders were killed: nobody could write for %v in the median, %v in 99 of 100; %d writes acknowledged, %d of unknown outcome; all: %v",
		len(pauses), pauses[len(pauses)/2], pauses[len(pauses)*99/100], len(w.acked), len(w.failures), pauses)
}

// TestNobodyNoticesARollingRestart stops members in order, one after the other.
// No request of plain clients may fail.
func TestNobodyNoticesARollingRestart(t *testing.T) {
	c := startTrio(t)
	w, stop := c.write()
	defer stop()
	w.since(t, time.Now(), 100)
	var pauses []time.Duration
	for range 2 {
		for i := range c.members {
			began := time.Now()
			c.term(i)
			c.members[i] = c.homes[i].start(t)
			back := time.Now()
			c.healthy()
			pauses = append(pauses, w.since(t, began, 100).Round(time.Millisecond))
			w.meet(t, c.ids[i], back)
		}
	}
	stop()
	if err := w.failed(); err != nil {
		t.Errorf("%d of %d requests failed: %v", len(w.failures), len(w.acked)+len(w.failures), err)
	}
	w.check(c)
	t.Logf("%d requests while all three were restarted twice, none failed; longest time without an answer, each: %v", len(w.acked), pauses)
}
