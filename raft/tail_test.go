// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	hraft "github.com/hashicorp/raft"
)

// heldDisk is a log in memory whose writes wait until they are let go.
type heldDisk struct {
	*hraft.InmemStore
	let chan error
}

func (h *heldDisk) StoreLog(l *hraft.Log) error { return h.StoreLogs([]*hraft.Log{l}) }

func (h *heldDisk) StoreLogs(logs []*hraft.Log) error {
	if err := <-h.let; err != nil {
		return err
	}
	return h.InmemStore.StoreLogs(logs)
}

// leads is a leader's disk with entry 1 on it, and 2 and 3 in the tail. It must
// be in a bubble.
func leads(t *testing.T) (d *disk, held *heldDisk, leading *atomic.Bool) {
	t.Helper()
	held, leading = &heldDisk{hraft.NewInmemStore(), make(chan error)}, new(atomic.Bool)
	d = &disk{
		store: held, files: logFiles{"log"}, watch: newMetrics(&Node{}),
		tail: tail{more: make(chan struct{}, 1)}, ahead: leading.Load,
		fail: func(error) {}, grew: func() {}, begin: fine,
	}
	go func() { held.let <- nil }()
	if err := d.StoreLog(entry(1, "one")); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	go d.writeTail(stop)
	t.Cleanup(func() {
		close(held.let)
		close(stop)
	})
	leading.Store(true)
	for i, text := range []string{"two", "three"} {
		if err := d.StoreLog(entry(uint64(2+i), text)); err != nil {
			t.Fatal(err)
		}
	}
	return d, held, leading
}

func TestALeaderReadsWhatItsDiskIsStillWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := leads(t)
		var l hraft.Log
		for i, want := range []string{"one", "two", "three"} {
			if err := d.GetLog(uint64(i+1), &l); err != nil || !bytes.Equal(l.Data, entry(1, want).Data) || l.Extensions != nil {
				t.Errorf("entry %d is %q with %x, %v, want %q and nothing", i+1, l.Data, l.Extensions, err, want)
			}
		}
		if last, err := d.LastIndex(); last != 3 || err != nil {
			t.Errorf("the last entry is %d, %v, want 3", last, err)
		}
		if d.unsettled() != 2 {
			t.Errorf("entries from %d on are not on the disk, want 2", d.unsettled())
		}
	})
}

// What counts on an entry being on this member's disk waits for it.
func TestWhatTheDiskIsStillWritingIsWaitedFor(t *testing.T) {
	for name, do := range map[string]func(d *disk, leading *atomic.Bool) error{
		"by who applies it": func(d *disk, _ *atomic.Bool) error { return d.settledTo(2) },
		"by who tells another leader of it": func(d *disk, leading *atomic.Bool) error {
			leading.Store(false)
			return d.GetLog(3, new(hraft.Log))
		},
		"by another leader's entries": func(d *disk, leading *atomic.Bool) error {
			leading.Store(false)
			return d.StoreLog(entry(4, "four"))
		},
		"by another leader's in its place": func(d *disk, leading *atomic.Bool) error {
			leading.Store(false)
			return d.DeleteRange(3, 3)
		},
		"by who cuts off all that is written": func(d *disk, _ *atomic.Bool) error { return d.DeleteRange(1, 1) },
		"by a configuration": func(d *disk, _ *atomic.Bool) error {
			return d.StoreLog(&hraft.Log{Index: 4, Term: 1, Type: hraft.LogConfiguration})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, held, leading := leads(t)
				done := make(chan error, 1)
				go func() { done <- do(d, leading) }()
				synctest.Wait()
				if len(done) != 0 {
					t.Fatalf("nobody waited: %v", <-done)
				}
				for len(done) == 0 {
					held.let <- nil
					synctest.Wait()
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Whoever waits for an entry that cannot be written gets to know.
func TestAFailedWriteOfTheTailEndsTheWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, held, _ := leads(t)
		done := make(chan error, 1)
		go func() { done <- d.settledTo(3) }()
		held.let <- errDisk
		if err := <-done; !errors.Is(err, errDisk) {
			t.Errorf("the wait ended with %v, want the cause", err)
		}
		if d.unsettled() != 2 {
			t.Errorf("entries from %d on are not on the disk, want 2", d.unsettled())
		}
	})
}

// The others may have an entry, and hraft take it for committed: until it is on
// the leader's own disk nobody is told.
func TestNothingIsAcknowledgedBeforeTheLeadersOwnDiskHasIt(t *testing.T) {
	c, drags := dragging(t)
	leader := c.leader()
	leader.write(t, "before")
	c.agree(t, "before")
	hang := make(chan struct{})
	drags[leader.config.Member].set(hang, 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	outcome := make(chan error, 1)
	go func() {
		_, err := leader.Propose(ctx, []byte("hangs"))
		outcome <- err
	}()
	index := leader.Status().Applied + 1
	eventually(t, func() error {
		if leader.raft.CommitIndex() < index {
			return errors.New("the others do not have it")
		}
		return nil
	})
	for _, m := range c.members {
		if applied := m.Status().Applied; applied >= index && m.Status().Leader == leader.config.Member {
			t.Errorf("member %d has applied entry %d", m.config.Member, applied)
		}
	}
	if len(outcome) != 0 {
		t.Errorf("it was answered: %v", <-outcome)
	}
	drags[leader.config.Member].set(nil, 0)
	close(hang)
	if err := <-outcome; err != nil && !errors.Is(err, ErrUnknown) {
		t.Errorf("the command that hung: %v, want ErrUnknown or nothing", err)
	}
	c.agree(t, "before", "hangs")
}
