// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestNoKillLosesOrTearsAWrite(t *testing.T) {
	for name, c := range map[string]struct {
		flags   []string
		kills   int
		crew    func(*rand.Rand) []*writer
		longest time.Duration // the latest moment of a kill, after every writer has been answered
	}{
		"whole history":               {kills: *kills - *kills/2, crew: lightCrew, longest: 300 * time.Millisecond},
		"compaction and large values": {kills: *kills / 2, crew: heavyCrew, longest: time.Second},
		"log in boltdb":               {kills: *kills / 5, crew: heavyCrew, longest: time.Second, flags: []string{"--raft-log=boltdb"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chance := chance(t)
			s := &story{home: newHome(t, c.flags...), history: newHistory(), writers: c.crew(chance), chance: chance}
			for life := range c.kills {
				if !s.live(t, c.longest) {
					t.Fatalf("in life %d", life)
				}
			}
			s.tell(t)
		})
	}
}

// lightCrew writes much and small, and keeps all history.
func lightCrew(chance *rand.Rand) []*writer {
	var crew []*writer
	for id := range 6 {
		crew = append(crew, newWriter(id, rand.New(rand.NewPCG(chance.Uint64(), 0)), 200, false))
	}
	return crew
}

// heavyCrew fills the log fast and lives longer, so that kills meet flushes of
// the state, labels and the cutting of the log. It compacts, too.
func heavyCrew(chance *rand.Rand) []*writer {
	crew := lightCrew(chance)[:4]
	for _, w := range crew[:2] {
		w.largest = 256 << 10
	}
	crew[3].compacts = true
	return crew
}

// story is a member through all its lives.
type story struct {
	home    home
	history *history
	writers []*writer
	chance  *rand.Rand

	found, gone, events int
	starts              []time.Duration
}

// live starts the member, checks what the life before has left, and kills it
// while the writers write.
func (s *story) live(t *testing.T, longest time.Duration) bool {
	t.Helper()
	began := time.Now()
	p := s.home.start(t)
	s.starts = append(s.starts, time.Since(began))
	client := p.client(t)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := &check{history: s.history, writers: s.writers, client: client}
	if err := c.run(ctx, s.chance); err != nil {
		t.Errorf("after %d kills: %v", len(s.starts)-1, err)
		return false
	}
	s.found, s.gone, s.events = s.found+c.found, s.gone+c.gone, s.events+c.events

	var killed atomic.Bool
	var begun, ended sync.WaitGroup
	problems := make([]error, len(s.writers))
	for i, w := range s.writers {
		begun.Add(1)
		first := sync.OnceFunc(begun.Done)
		ended.Go(func() {
			defer first() // one that fails keeps nobody waiting
			problems[i] = w.run(ctx, client, s.history, &killed, first)
		})
	}
	begun.Wait()
	<-time.After(time.Duration(s.chance.Int64N(int64(longest))))
	killed.Store(true)
	p.kill()
	cancel() // what is under way gets no answer any more
	ended.Wait()
	if err := errors.Join(problems...); err != nil {
		t.Errorf("after %d kills: %v; cleatd said:\n%s", len(s.starts)-1, err, p.said())
		return false
	}
	return true
}

// tell checks the last life and reports.
func (s *story) tell(t *testing.T) {
	t.Helper()
	p := s.home.start(t)
	client := p.client(t)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := &check{history: s.history, writers: s.writers, client: client}
	if err := c.run(ctx, s.chance); err != nil {
		t.Fatalf("after the last kill: %v", err)
	}
	slices.Sort(s.starts)
	labels, err := os.ReadDir(filepath.Join(s.home.dir, "data", "raft", "labels"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills: %d writes acknowledged and all there; of %d unknown ones %d were carried out, whole; "+
		"%d events replayed; at revision %d, compacted at %d, labels %v; starts take %v, at most %v",
		len(s.starts), s.history.acknowledgements, s.found+c.found+s.gone+c.gone, s.found+c.found,
		s.events+c.events, s.history.newest, s.history.compacted, labels, s.starts[len(s.starts)/2], s.starts[len(s.starts)-1])
	if s.history.acknowledgements < 10*len(s.starts) || s.found+c.found+s.gone+c.gone < len(s.starts) {
		t.Error("too little was under way: the test showed little")
	}
}
