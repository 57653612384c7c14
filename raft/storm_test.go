// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var storms = flag.Int("storms", 2, "how many seeds TestNoStormLosesOrRepeatsAnything runs")

// storm is a cluster under load to which things happen.
type storm struct {
	*cluster
	chance *rand.Rand
	will   *testament
	spots  [4]spot // by member id

	installed int // states, by those who have died

	mu      sync.Mutex
	results map[string]string // of acknowledged commands
	newest  atomic.Int64      // highest position that anybody was told of
}

// spot is where a member runs, now this life of it, now that.
type spot struct {
	member atomic.Pointer[member]
	power  *power
	dead   atomic.Bool // its power has failed
}

// TestNoStormLosesOrRepeatsAnything cuts links, in one direction and in both,
// kills members at any step towards their disks, stops them in order, and
// hands leadership about, while commands come in at all members. Then:
// what was acknowledged is there once, at the place that its result told; what
// was refused is not; all members hold the same; and no read after Sync has
// missed what anybody had been told before.
func TestNoStormLosesOrRepeatsAnything(t *testing.T) {
	for seed := range uint64(*storms) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s := &storm{
				cluster: newCluster(t), chance: rand.New(rand.NewPCG(seed, 2)),
				will: &testament{undone: map[string]bool{}}, results: map[string]string{},
			}
			s.with = func(o *Config) { o.SnapshotBytes = 8 << 10 }
			if seed%2 == 1 { // who falls behind gets the state
				s.with = forgetful
			}
			s.raise(1, steady)
			for id := uint64(2); id <= 3; id++ {
				s.raise(id, steady)
				eventually(t, func() error {
					if err := s.members[1].AddLearner(patience(t), id, address(id)); !errors.Is(err, ErrMember) {
						return err
					}
					return nil // an attempt before, which did not know its outcome
				})
				s.promote(id)
			}
			calm := s.load()
			for range 20 {
				s.happen()
			}
			s.clear()
			calm()
			s.check()
			t.Logf("%d states were installed", s.installed)
		})
	}
}

const steady = 1 << 30

// raise starts a member whose power lasts for so many steps.
func (s *storm) raise(id uint64, steps int) {
	s.t.Helper()
	spot := &s.spots[id]
	for {
		spot.dead.Store(false)
		spot.power = &power{steps: steps, ended: func() { spot.dead.Store(true) }}
		m, err := s.tryStart(id, spot.power.faults)
		if err == nil {
			m.book.mu.Lock()
			m.book.step = spot.power.step
			m.book.mu.Unlock()
			spot.member.Store(m)
			return
		}
		if !strings.Contains(err.Error(), errPower.Error()) {
			s.t.Fatalf("start %d: %v", id, err)
		}
		steps = steady
	}
}

// fell ends a member's life.
func (s *storm) fell(id uint64) {
	s.t.Helper()
	m := s.members[id]
	s.spots[id].power.out()
	s.kill(id)
	m.book.mu.Lock()
	defer m.book.mu.Unlock()
	s.installed += m.book.installed
	if len(m.book.twice) > 0 {
		s.t.Errorf("member %d applied twice: %q", id, m.book.twice)
	}
}

// happen does one thing, lets it be for a while, and raises who fell.
func (s *storm) happen() {
	s.t.Helper()
	a := uint64(1 + s.chance.IntN(3))
	b := a%3 + 1
	switch s.chance.IntN(8) {
	case 0:
		s.set(a, b, true)
	case 1:
		s.set(b, a, true)
	case 2:
		s.part(a, s.ids(), true)
	case 3, 4:
		for _, id := range s.ids() {
			s.part(id, s.ids(), false)
		}
	case 5:
		s.fell(a)
		s.raise(a, 20+s.chance.IntN(300))
	case 6:
		m := s.members[a]
		ctx, cancel := context.WithTimeout(s.t.Context(), testElection)
		_ = m.Shutdown(ctx) // as far as it goes
		cancel()
		s.fell(a)
		s.raise(a, steady)
	case 7:
		ctx, cancel := context.WithTimeout(s.t.Context(), testElection)
		_ = s.members[a].Transfer(ctx, b) // may well be impossible now
		cancel()
	}
	pause(time.Duration(s.chance.IntN(int(testElection))))
	for id := uint64(1); id <= 3; id++ {
		if s.spots[id].dead.Load() {
			s.fell(id)
			s.raise(id, steady)
		}
	}
}

func pause(d time.Duration) { <-time.After(d) }

func (s *storm) clear() {
	for _, id := range s.ids() {
		s.part(id, s.ids(), false)
	}
	for _, id := range s.ids() {
		if s.spots[id].power.left() < steady/2 {
			s.fell(id)
			s.raise(id, steady)
		}
	}
}

// load writes and reads at all members until it is told to stop.
func (s *storm) load() (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var callers sync.WaitGroup
	for id := uint64(1); id <= 3; id++ {
		for caller := range 3 {
			callers.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					s.write(id, fmt.Sprintf("%d-%d-%d", id, caller, i))
				}
			})
		}
		callers.Go(func() {
			for ctx.Err() == nil {
				s.read(id)
			}
		})
	}
	return func() { cancel(); callers.Wait() }
}

func (s *storm) write(id uint64, line string) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*testElection)
	defer cancel()
	result, err := s.spots[id].member.Load().Propose(ctx, []byte(line))
	s.will.note(line, err)
	if err != nil {
		pause(time.Millisecond)
		return
	}
	s.mu.Lock()
	s.results[line] = string(result)
	s.mu.Unlock()
	var position int64
	if _, err := fmt.Sscanf(string(result), "%d:", &position); err != nil {
		s.t.Errorf("result %q: %v", result, err)
	}
	for {
		newest := s.newest.Load()
		if newest >= position || s.newest.CompareAndSwap(newest, position) {
			return
		}
	}
}

func (s *storm) read(id uint64) {
	m := s.spots[id].member.Load()
	ctx, cancel := context.WithTimeout(context.Background(), 4*testElection)
	defer cancel()
	told := s.newest.Load()
	if err := m.Sync(ctx); err != nil {
		if !errors.Is(err, ErrNoLeader) && !errors.Is(err, ErrStopped) && !errors.Is(err, context.DeadlineExceeded) {
			s.t.Errorf("sync: %v", err)
		}
		pause(time.Millisecond)
		return
	}
	m.book.mu.Lock()
	defer m.book.mu.Unlock()
	if held := int64(len(m.book.pages.Lines)); held < told {
		s.t.Errorf("member %d held %d lines after Sync, but %d had been acknowledged before", id, held, told)
	}
}

func (s *storm) check() {
	t := s.t.(*testing.T)
	s.agree(t)
	lines := s.members[1].book.lines()
	s.will.check(t, s.members[1].book)
	for line, result := range s.results {
		if at := slices.Index(lines, line); result != fmt.Sprintf("%d:%s", at+1, line) {
			t.Errorf("result %q, but the line is at %d", result, at+1)
		}
	}
	for _, m := range s.members {
		if len(m.book.twice) > 0 {
			t.Errorf("member %d applied twice: %q", m.config.Member, m.book.twice)
		}
	}
	t.Logf("%d acknowledged, %d unknown, %d refused", len(s.will.done), s.will.unknown, len(s.will.undone))
	if len(s.will.done) < 20 {
		t.Errorf("%d commands were acknowledged: the test showed nothing", len(s.will.done))
	}
}
