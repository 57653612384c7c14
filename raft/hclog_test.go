// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

// Whoever is away is told of once, and once when it is back, whatever hraft has
// to say about it meanwhile.
func TestAMemberThatIsAwayIsToldOfOnce(t *testing.T) {
	said := new(lines)
	c := newCluster(t)
	c.with = func(o *Config) { o.Logger = slog.New(slog.NewTextHandler(said, nil)) }
	c.start(1)
	for id := uint64(2); id <= 3; id++ {
		c.join(id)
		c.promote(id)
	}
	told := func(part string) {
		t.Helper()
		eventually(t, func() error {
			if said.count(part) == 0 {
				return errors.New("not told: " + part)
			}
			return nil
		})
	}
	c.part(3, []uint64{1, 2}, true)
	told("member does not answer")
	for range 60 {
		c.members[1].write(t, "x")
	}
	c.part(3, []uint64{1, 2}, false)
	told("member answers again")
	if n := said.count("member does not answer"); n != 1 {
		t.Errorf("told %d times", n)
	}
	// Of what was on its way when the link was cut; a busy machine may elect
	// leaders meanwhile, each with its own.
	if n, most := said.count("level=ERROR"), 5*said.count(`msg="leader changed"`); n > most {
		t.Errorf("%d errors, want no more than %d:\n%s", n, most, said.text.String())
	}
}
