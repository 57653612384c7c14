// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stranded is a cluster of which only member 3 is left, stopped.
func stranded(t *testing.T, with func(*Config)) (c *cluster, lines []string) {
	t.Helper()
	c = newCluster(t)
	c.with = with
	c.start(1)
	for id := uint64(2); id <= 3; id++ {
		c.join(id)
		c.promote(id)
	}
	for i := range 20 {
		line := fmt.Sprint(i, strings.Repeat("x", 300))
		c.leader().write(t, line)
		lines = append(lines, line)
	}
	c.agree(t, lines...)
	for id := uint64(1); id <= 3; id++ {
		c.kill(id)
	}
	return c, lines
}

// recovered recovers member 3, whose disk may fail.
func (c *cluster) recovered(with func(*Config), step func() error) (Recovery, error) {
	c.t.Helper()
	dir := filepath.Join(c.dir, address(3))
	b, err := openBook(bookPath(dir))
	if err != nil {
		c.t.Fatal(err)
	}
	b.step = step
	o := config(dir)
	o.Member, o.Address = 3, address(3)
	c.with(&o)
	with(&o)
	return Recover(o, b, []byte("another cluster"))
}

func TestASurvivorGoesOnAlone(t *testing.T) {
	for _, kind := range bothLogs {
		for name, with := range map[string]func(*Config){"whole log": func(*Config) {}, "cut log": forgetful} {
			t.Run(kind+" "+name, func(t *testing.T) {
				c, lines := stranded(t, func(o *Config) { with(o); o.Log = kind })
				r, err := c.recovered(func(*Config) {}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(r.Others) != 2 || r.Others[0].ID != 1 || r.Index != r.Last+1 {
					t.Errorf("recovery %+v", r)
				}
				m := c.start(3)
				c.agree(t, append(lines, "another cluster")...)
				m.write(t, "goes on")
				if got := m.Members(); len(got) != 1 || got[0] != (Member{ID: 3, Address: address(3)}) {
					t.Errorf("members %+v", got)
				}
				c.kill(3)
				c.start(3)
				c.agree(t, "goes on")

				// Others join as new members, and begin with the state.
				next := c.start(4)
				if err := c.members[3].AddLearner(patience(t), 4, address(4)); err != nil {
					t.Fatal(err)
				}
				c.agree(t, append(lines, "another cluster", "goes on")...)
				if next.installedTimes() != 1 {
					t.Errorf("%d checkpoints, want 1: its log has nothing from before", next.installedTimes())
				}
			})
		}
	}
}

// A recovery ends at each step towards the disk. The member is then as it was,
// or recovered; and it can be recovered again.
func TestARecoveryIsWholeWhereverItEnds(t *testing.T) {
	for _, kind := range bothLogs {
		t.Run(kind, func(t *testing.T) {
			c, lines := stranded(t, func(o *Config) { o.Log = kind })
			for steps := 0; ; steps++ {
				p := &power{steps: steps}
				_, err := c.recovered(p.faults, p.step)
				if err != nil && !errors.Is(err, errPower) {
					t.Fatalf("%d steps: %v", steps, err)
				}
				m := c.start(3) // what is there is good for a start
				if len(m.Members()) == 1 {
					m.sync(t)
					got := m.book.lines()
					if len(got) <= len(lines) || !slices.Equal(got[:len(lines)], lines) {
						t.Fatalf("%d steps: recovered with %d lines, want %d and the recoveries", steps, len(got), len(lines))
					}
				} else if got := m.book.lines(); slices.Contains(got, "another cluster") {
					t.Fatalf("%d steps: the state is recovered and the log is not", steps)
				}
				c.kill(3)
				if err == nil {
					break
				}
			}
			if _, err := c.recovered(func(*Config) {}, nil); err != nil {
				t.Fatal(err)
			}
			c.start(3)
			c.members[3].write(t, "goes on")
		})
	}
}
