// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// eventually polls until check is content.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("gave up: %v", err)
		case <-tick.C:
		}
	}
}

func askOthers(c *Config) { c.faults.alone = func() bool { return false } }

// hold makes Apply wait, and returns how to let it go.
func (b *book) hold() (entered <-chan struct{}, release func()) {
	gate, in := make(chan struct{}), make(chan struct{}, 16)
	b.mu.Lock()
	b.gate, b.entered = gate, in
	b.mu.Unlock()
	return in, sync.OnceFunc(func() {
		b.mu.Lock()
		b.gate = nil
		b.mu.Unlock()
		close(gate)
	})
}

func TestSyncWaitsUntilWhatIsCommittedIsApplied(t *testing.T) {
	for name, with := range map[string]func(*Config){"alone": func(*Config) {}, "asking others": askOthers} {
		t.Run(name, func(t *testing.T) {
			m := open(t, t.TempDir(), with)
			m.sync(t)
			entered, release := m.book.hold()
			defer release()
			written := make(chan error, 1)
			go func() {
				_, err := m.Propose(patience(t), []byte("slow"))
				written <- err
			}()
			<-entered // committed, not applied
			synced := make(chan error, 1)
			go func() {
				err := m.Sync(patience(t))
				if err == nil && !slices.Contains(m.book.lines(), "slow") {
					err = errors.New("the committed command was not there after Sync")
				}
				synced <- err
			}()
			eventually(t, func() error {
				if len(synced) > 0 || m.progress.waits.Load() > 0 {
					return nil
				}
				return errors.New("nobody waits for the command to be applied")
			})
			release()
			if err := errors.Join(<-synced, <-written); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSyncSeesEveryAcknowledgedWrite(t *testing.T) {
	for name, with := range map[string]func(*Config){"alone": func(*Config) {}, "asking others": askOthers} {
		t.Run(name, func(t *testing.T) {
			m := open(t, t.TempDir(), with)
			var callers sync.WaitGroup
			for i := range 20 {
				callers.Go(func() {
					for j := range 10 {
						line := fmt.Sprintf("%d-%d", i, j)
						if _, err := m.Propose(patience(t), []byte(line)); err != nil {
							t.Errorf("propose: %v", err)
							return
						}
						if err := m.Sync(patience(t)); err != nil {
							t.Errorf("sync: %v", err)
							return
						}
						if !slices.Contains(m.book.lines(), line) {
							t.Errorf("%q was acknowledged but is not there after Sync", line)
						}
					}
				})
			}
			callers.Wait()
		})
	}
}

// The book forgets what it did not put on disk, so only the log has the lines:
// whoever reads before an entry of the new term is applied reads too little.
func TestSyncAfterARestartSeesTheWholeLog(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	for i := range 50 {
		m.write(t, fmt.Sprint(i))
	}
	m.stop(t)
	again := open(t, dir)
	again.sync(t)
	if got := len(again.book.lines()); got != 50 {
		t.Fatalf("%d lines after Sync, want 50", got)
	}
}

func TestCallersShareOneRound(t *testing.T) {
	r := newRounds()
	stop := make(chan struct{})
	asked, answer := make(chan struct{}), make(chan error)
	commit := uint64(10)
	var work sync.WaitGroup
	work.Go(func() {
		r.run(stop, func() uint64 { return commit }, func() error { asked <- struct{}{}; return <-answer })
	})
	defer func() { close(stop); work.Wait() }()

	first := r.join()
	<-asked
	second := r.join()
	if second == first {
		t.Fatal("who came after the round began joined it: its answer may be older than the call")
	}
	for range 100 {
		if r.join() != second {
			t.Fatal("callers that could share a round did not")
		}
	}
	answer <- nil
	<-first.done
	<-asked
	answer <- errors.New("deposed")
	<-second.done
	if first.err != nil || first.index != 10 {
		t.Errorf("first round: index %d, err %v", first.index, first.err)
	}
	if !errors.Is(second.err, ErrNoLeader) {
		t.Errorf("second round: err %v, want ErrNoLeader", second.err)
	}
}

func TestSyncGivesUpWithItsContext(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	m.elections <- false // as hraft tells a deposed leader
	eventually(t, func() error {
		if l, _ := m.reign.current(); l != nil {
			return errors.New("still leads")
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Sync(ctx); !errors.Is(err, ErrNoLeader) || !errors.Is(err, context.Canceled) {
		t.Errorf("sync: %v, want ErrNoLeader and the context's error", err)
	}
	if _, err := m.Propose(ctx, []byte("x")); !errors.Is(err, ErrNoLeader) || errors.Is(err, ErrUnknown) {
		t.Errorf("propose: %v, want ErrNoLeader", err)
	}
}

func TestOnlyTheLeaderConfirmsThatItLeads(t *testing.T) {
	c := three(t)
	leader := c.leader()
	if err := leader.Confirm(patience(t)); err != nil {
		t.Errorf("the leader: %v", err)
	}
	if err := c.others(leader.config.Member)[0].Confirm(patience(t)); !errors.Is(err, ErrNoLeader) {
		t.Errorf("a follower: %v, want ErrNoLeader", err)
	}
	c.part(leader.config.Member, c.ids(), true)
	if err := leader.Confirm(patience(t)); !errors.Is(err, ErrNoLeader) { // it believes still that it leads
		t.Errorf("a leader that is cut off: %v, want ErrNoLeader", err)
	}
}
