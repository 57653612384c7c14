// SPDX-License-Identifier: Apache-2.0

package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	hraft "github.com/hashicorp/raft"
)

func ask(size int) *proposal {
	return &proposal{command: make([]byte, size), done: make(chan outcome, 1)}
}

// busy is a line whose way is taken by a first group.
func busy(t *testing.T) (*line, *group) {
	t.Helper()
	l := newLine()
	g, err := l.join(ask(1))
	if err != nil || g == nil {
		t.Fatalf("the first in line got no group: %v", err)
	}
	l.register(g, encodeGroup(g.proposals))
	return l, g
}

func wait(t *testing.T, l *line, ps ...*proposal) {
	t.Helper()
	for _, p := range ps {
		if g, err := l.join(p); g != nil || err != nil {
			t.Fatalf("did not have to wait: %v, %v", g, err)
		}
	}
}

func arrive(t *testing.T, l *line, g *group) {
	t.Helper()
	l.register(g, encodeGroup(g.proposals))
	if l.arrive(g.data) != g {
		t.Fatal("the group's entry was not known")
	}
}

func TestWhoWaitsFormsOneGroupInOrder(t *testing.T) {
	l, first := busy(t)
	a, b, c := ask(1), ask(2), ask(3)
	wait(t, l, a, b, c)
	if l.next() != nil {
		t.Fatal("a second group went to the log before the first had come back")
	}
	arrive(t, l, first)
	g := l.next()
	if g == nil || !slices.Equal(g.proposals, []*proposal{a, b, c}) {
		t.Fatalf("group %v, want all who waited, in order", g)
	}
}

func TestAGroupClosesAtItsSize(t *testing.T) {
	l, first := busy(t)
	small, half, rest := ask(10), ask(maxGroupBytes/2), ask(maxGroupBytes/2)
	huge, last := ask(3*maxGroupBytes), ask(1)
	wait(t, l, small, half, rest, huge, last)
	arrive(t, l, first)
	for i, want := range [][]*proposal{{small, half}, {rest}, {huge}, {last}} {
		g := l.next()
		if g == nil || !slices.Equal(g.proposals, want) {
			t.Fatalf("group %d has %v, want %v", i, g, want)
		}
		arrive(t, l, g)
		l.answer(g, make([][]byte, len(g.proposals)), 1)
	}
}

func TestFullMessagesStayBelowTheLogsRecord(t *testing.T) {
	if maxAppendEntries*maxGroupBytes >= 64<<20 {
		t.Errorf("%d groups of %d bytes: a message of full groups reaches 64 MiB", maxAppendEntries, maxGroupBytes)
	}
	if maxCommandBytes+1024 >= 64<<20 {
		t.Errorf("a command of %d bytes does not fit raft-wal's record", maxCommandBytes)
	}
}

func TestSlowApplyingStopsTheLine(t *testing.T) {
	l, g := busy(t)
	for range maxGroups - 1 {
		arrive(t, l, g)
		p := ask(1)
		next, err := l.join(p)
		if err != nil || next == nil {
			t.Fatalf("the way is free but the caller waits: %v", err)
		}
		g = next
	}
	arrive(t, l, g)
	wait(t, l, ask(1))
	if l.next() != nil {
		t.Fatalf("more than %d groups are unanswered", maxGroups)
	}
	l.answer(l.outstanding[0], [][]byte{nil}, 1)
	if l.next() == nil {
		t.Fatal("the line did not move when a group was answered")
	}
}

func TestWhoLeavesTheLineIsNotCarriedOut(t *testing.T) {
	l, first := busy(t)
	stays, leaves := ask(1), ask(1)
	wait(t, l, stays, leaves)
	err := l.leave(leaves, context.Canceled).err
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
		t.Fatalf("err %v, want the context's, and nothing unknown about it", err)
	}
	arrive(t, l, first)
	if g := l.next(); len(g.proposals) != 1 || g.proposals[0] != stays {
		t.Fatalf("group %v, want only the one who stayed", g.proposals)
	}
}

func TestWhoLeavesOnTheWayDoesNotKnow(t *testing.T) {
	l, g := busy(t)
	err := l.leave(g.proposals[0], context.DeadlineExceeded).err
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrUnknown) {
		t.Fatalf("err %v, want both the context's and ErrUnknown", err)
	}
	arrive(t, l, g)
	l.answer(g, [][]byte{nil}, 1) // must not wait for the caller
}

func TestAClosedLineDrains(t *testing.T) {
	l, g := busy(t)
	p := ask(1)
	wait(t, l, p)
	l.close(ErrStopped)
	if _, err := l.join(ask(1)); !errors.Is(err, ErrStopped) {
		t.Fatalf("err %v, want ErrStopped", err)
	}
	arrive(t, l, g)
	l.answer(g, [][]byte{nil}, 1)
	select {
	case <-l.drained:
		t.Fatal("drained while a proposal waits")
	default:
	}
	g = l.next()
	arrive(t, l, g)
	l.answer(g, [][]byte{nil}, 1)
	<-l.drained
}

// What hraft says, and what that means for the caller: a wrong line here is a
// write done twice or a write lost.
func TestOutcomes(t *testing.T) {
	for _, c := range []struct{ says, means error }{
		{hraft.ErrNotLeader, ErrNoLeader},
		{hraft.ErrEnqueueTimeout, ErrNoLeader},
		{hraft.ErrLeadershipTransferInProgress, ErrNoLeader},
		{hraft.ErrLeadershipLost, ErrUnknown},
		{hraft.ErrRaftShutdown, ErrUnknown},
		{hraft.ErrAbortedByRestore, ErrUnknown},
		{errors.New("input/output error"), ErrUnknown},
	} {
		got := outcomeOf(fmt.Errorf("wrapped: %w", c.says))
		for _, other := range []error{ErrNoLeader, ErrUnknown} {
			if errors.Is(got, other) != (other == c.means) {
				t.Errorf("%v became %v, want %v", c.says, got, c.means)
			}
		}
		if !errors.Is(got, c.says) {
			t.Errorf("%v lost its cause %v", got, c.says)
		}
	}
}
