// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	hraft "github.com/hashicorp/raft"
)

func hraftConfiguration(member uint64) hraft.Configuration {
	return hraft.Configuration{Servers: []hraft.Server{{ID: serverID(member), Address: hraft.ServerAddress(address(member))}}}
}

// forgetful makes members cut their logs early.
func forgetful(c *Config) {
	c.SnapshotBytes, c.TrailingBytes = 2<<10, 1
	c.faults.segment = 4 << 10
}

// cutLog writes until the log has been cut behind entry past, and the segment
// that had it is gone: raft-wal reads on as long as that is there.
func cutLog(t testing.TB, m *member, past uint64) {
	t.Helper()
	i := 0
	eventually(t, func() error {
		m.write(t, fmt.Sprintf("%d after %d %s", i, past, strings.Repeat("x", 500)))
		i++
		if first := m.Status().First; first <= past+20 {
			return fmt.Errorf("the log begins at entry %d", first)
		}
		return nil
	})
}

func TestAMemberThatIsFarBehindGetsTheState(t *testing.T) {
	for _, kind := range bothLogs {
		t.Run(kind, func(t *testing.T) {
			c := newCluster(t)
			c.with = func(o *Config) { forgetful(o); o.Log = kind }
			c.start(1)
			for id := uint64(2); id <= 3; id++ {
				c.join(id)
				c.promote(id)
			}
			for round := range 3 {
				c.leader().write(t, fmt.Sprint("before ", round))
				away := c.others(c.leader().config.Member)[0].config.Member
				last := c.members[away].Status().Last
				c.kill(away)
				cutLog(t, c.leader(), last)
				back := c.start(away)
				c.agree(t)
				if back.book.installed == 0 {
					t.Errorf("round %d: it came back without a checkpoint", round)
				}
				if len(back.book.twice) > 0 {
					t.Errorf("applied twice: %.40q", back.book.twice)
				}
				c.leader().write(t, fmt.Sprint("after ", round))
				c.agree(t)
				c.kill(away) // what it was given must carry it
				c.start(away)
				c.agree(t, fmt.Sprint("after ", round))
			}
		})
	}
}

// A follower that was cut off, and led before, with commands that nobody else
// has: they are gone, and whoever proposed them does not take them for done.
func TestALeaderThatWasCutOffGetsTheStateOfTheOthers(t *testing.T) {
	c := newCluster(t)
	c.with = forgetful
	c.start(1)
	for id := uint64(2); id <= 3; id++ {
		c.join(id)
		c.promote(id)
	}
	old := c.leader()
	old.write(t, "before")
	away := old.config.Member
	c.part(away, c.ids(), true)
	lost := make(chan error, 10)
	for i := range cap(lost) {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*testElection)
			defer cancel()
			_, err := old.Propose(ctx, []byte(fmt.Sprint("lost ", i)))
			lost <- err
		}()
	}
	others := c.others(away)
	others[0].write(t, "meanwhile")
	for _, m := range others {
		cutLog(t, m, old.Status().Last)
	}
	for range cap(lost) {
		if err := <-lost; err == nil {
			t.Error("acknowledged by a member without a majority")
		}
	}
	c.part(away, c.ids(), false)
	c.agree(t, "before", "meanwhile")
	if old.installedTimes() == 0 {
		t.Error("it came back without a checkpoint")
	}
	old.write(t, "after")
	c.agree(t, "after")
	for _, line := range old.book.lines() {
		if strings.HasPrefix(line, "lost") {
			t.Errorf("%q is there", line)
		}
	}
}

func TestANewMemberBeginsWithTheState(t *testing.T) {
	c := newCluster(t)
	c.with = forgetful
	cutLog(t, c.start(1), 1)
	for id := uint64(2); id <= 3; id++ {
		m := c.join(id)
		c.promote(id)
		c.agree(t)
		if m.book.installed != 1 {
			t.Errorf("member %d got %d checkpoints, want 1", id, m.book.installed)
		}
	}
	c.kill(c.leader().config.Member)
	c.leader().write(t, "those who were given it go on")
	c.agree(t)
}

// A member ends at each step towards its disk, from its start until it has
// caught up, and comes back on what is there.
func TestAnInstallationIsWholeWhereverTheMemberDies(t *testing.T) {
	for _, kind := range bothLogs {
		t.Run(kind, func(t *testing.T) {
			c := newCluster(t)
			c.with = func(o *Config) { forgetful(o); o.Log = kind }
			c.start(1)
			c.join(2).stop(t)
			cut := 0
			for steps := 0; ; steps++ {
				leader := c.members[1]
				cutLog(t, leader, leader.Status().Last)
				p, caughtUp := &power{steps: steps}, false
				died := make(chan struct{}, 1)
				p.ended = func() {
					select {
					case died <- struct{}{}:
					default:
					}
				}
				m, err := c.tryStart(2, p.faults)
				if err == nil {
					m.book.mu.Lock()
					m.book.step = p.step
					m.book.mu.Unlock()
					caught := m.progress.reached(leader.Status().Commit)
					select {
					case <-died:
						cut++
					case <-caught:
						caughtUp = true
					}
					p.out()
					m.stop(t)
				} else if !strings.Contains(err.Error(), errPower.Error()) {
					t.Fatalf("%d steps: %v", steps, err)
				}
				done := caughtUp
				m = c.start(2)
				c.agree(t)
				if len(m.book.twice) > 0 {
					t.Fatalf("%d steps: applied twice: %.40q", steps, m.book.twice)
				}
				m.stop(t)
				if done {
					break
				}
			}
			if cut < 5 {
				t.Errorf("died %d times within an installation: the test showed nothing", cut)
			}
		})
	}
}

// The way between the two breaks at any piece of the state.
func TestAStateThatBreaksOffIsSentAgain(t *testing.T) {
	c := newCluster(t)
	c.with = forgetful
	leader := c.start(1)
	cutLog(t, leader, 1)
	m := c.start(2)
	c.mu.Lock()
	c.tear = 1
	c.mu.Unlock()
	if err := leader.AddLearner(patience(t), 2, address(2)); err != nil {
		t.Fatal(err)
	}
	for piece := 2; m.installedTimes() == 0; piece = min(2*piece, 1<<20) {
		eventually(t, func() error {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.tear > 0 && m.installedTimes() == 0 {
				return errors.New("nothing was sent yet")
			}
			c.tear = piece
			return nil
		})
	}
	c.mu.Lock()
	c.tear = 0
	c.mu.Unlock()
	c.agree(t)
}

func (m *member) installedTimes() int {
	m.book.mu.Lock()
	defer m.book.mu.Unlock()
	return m.book.installed
}

// stale is a prepared state for tests of the shelf.
type stale struct {
	index  uint64
	closed int
}

func (s *stale) Index() uint64  { return s.index }
func (s *stale) Install() error { return errDisk }
func (s *stale) Close() error   { s.closed++; return nil }

func TestTheShelfHoldsOneStateUntilItIsInstalled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, installingFile)
	i := &installation{intent: path, reason: filepath.Join(dir, installedFile), put: writeDurably, remove: removeDurably, rename: renameDurably}
	if err := i.intend(newLabel(5, 1, hraftConfiguration(1), 1)); !errors.Is(err, errNotHere) {
		t.Errorf("intended what is not here: %v", err)
	}
	p, released := &stale{index: 5}, 0
	i.shelve(p, func() { released++ })
	if err := i.intend(newLabel(6, 1, hraftConfiguration(1), 1)); !errors.Is(err, errNotHere) {
		t.Errorf("intended another than is here: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("there is an intent")
	}
	if err := i.intend(newLabel(5, 1, hraftConfiguration(1), 1)); err != nil {
		t.Error(err)
	}
	if meta, got := i.intended(); got != p || meta.Index != 5 {
		t.Errorf("intended %+v", meta)
	}
	for range 2 {
		if err := i.drop(); err != nil {
			t.Error(err)
		}
	}
	if p.closed != 1 || released != 1 {
		t.Errorf("closed %d times, released %d times, want once", p.closed, released)
	}
	for range 2 {
		if err := i.forget(); err != nil {
			t.Error(err)
		}
	}
}

// The state went past the checkpoint before hraft's word came.
func TestAStateThatIsOvertakenIsNotInstalled(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	m.write(t, "x")
	if err := m.Receive(t.Context(), 9, strings.NewReader(`{"Index":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := m.installation.intend(newLabel(1, 1, hraftConfiguration(7), 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.install(); err == nil || !strings.Contains(err.Error(), "the state is at entry") {
		t.Errorf("install: %v", err)
	}
	if _, err := os.Stat(m.installation.intent); err == nil {
		t.Error("the intent stayed: the next start would clear the log")
	}
	m.write(t, "y")
	m.stop(t)
	m = open(t, m.dir)
	m.sync(t)
	if got := m.book.lines(); len(got) != 2 {
		t.Errorf("lines %q", got)
	}
}

// An intent that was left behind by mistake must not cost a log that goes on.
func TestAnOldIntentCostsNothing(t *testing.T) {
	m := open(t, t.TempDir())
	m.write(t, "x")
	index := m.Status().Applied
	m.write(t, "y")
	path := m.installation.intent
	m.stop(t)
	if err := writeDurably(path, encodeLabel(newLabel(index, 2, hraftConfiguration(7), 1))); err != nil {
		t.Fatal(err)
	}
	m = open(t, m.dir)
	m.sync(t)
	if got := m.book.lines(); len(got) != 2 {
		t.Errorf("lines %q", got)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the intent is still there")
	}
}

func TestADamagedIntentIsNamed(t *testing.T) {
	m := open(t, t.TempDir())
	m.write(t, "x")
	m.stop(t)
	if err := os.WriteFile(m.installation.intent, []byte{labelVersion, 2, 3, 4, 5, 6, 7}, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, m.dir, logWAL, installingFile, "damaged")
}

func TestOneStateComesInAtATime(t *testing.T) {
	m := open(t, t.TempDir())
	m.sync(t)
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() { first <- m.Receive(t.Context(), 9, r) }()
	if _, err := w.Write([]byte("{")); err != nil { // it is read
		t.Fatal(err)
	}
	if err := m.Receive(t.Context(), 9, strings.NewReader("{}")); err == nil {
		t.Error("took a second one meanwhile")
	}
	_ = w.CloseWithError(net.ErrClosed)
	if err := <-first; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a state that broke off: %v", err)
	}
}
