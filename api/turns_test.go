// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// connections makes accounts of a fairness with one turn.
func connections(n int) (*turns, []*account) {
	t := newTurns(1)
	all := make([]*account, n)
	for i := range all {
		all[i] = &account{copies: 1, unladen: t.look}
		all[i].large.of = newBudget(100)
	}
	return t, all
}

// What one connection asks for waits behind itself, not before others.
func TestConnectionsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, who := connections(3)
		if !turns.try(who[0]) || turns.try(who[1]) {
			t.Fatal("there is one turn, and not one for each")
		}
		var order []int
		var group sync.WaitGroup
		for _, i := range []int{0, 0, 0, 0, 1, 2, 1} {
			group.Go(func() {
				if err := turns.take(t.Context(), who[i]); err != nil {
					t.Error(err)
				}
				order = append(order, i) // whoever has the turn is alone
				turns.give()
			})
			synctest.Wait() // they come in this order
		}
		turns.give()
		group.Wait()
		if want := []int{0, 1, 2, 0, 1, 0, 0}; !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
		if turns.free != 1 || len(turns.lines) != 0 || len(turns.of) != 0 || turns.waiting.Load() != 0 {
			t.Errorf("something is left over: %+v", turns)
		}
	})
}

func TestALadenConnectionIsPassedOverUntilItHasGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, who := connections(2)
		if !who[0].large.try(60) || turns.try(who[0]) {
			t.Fatal("a laden connection was given a turn")
		}
		served := make(chan int, 2)
		for i := range who {
			go func() {
				if err := turns.take(t.Context(), who[i]); err != nil {
					t.Error(err)
				}
				served <- i
				turns.give()
			}()
			synctest.Wait()
		}
		if first := <-served; first != 1 {
			t.Errorf("connection %d was served first, which is laden", first)
		}
		synctest.Wait()
		if len(served) != 0 {
			t.Error("the laden connection was served before it gave back")
		}
		who[0].large.give(20)
		who[0].gave()
		if next := <-served; next != 0 {
			t.Errorf("connection %d was served", next)
		}
	})
}

func TestWhoeverStopsWaitingLosesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, who := connections(1)
		turns.try(who[0])
		gone := errors.New("gone")
		ctx, leave := context.WithCancelCause(t.Context())
		left := make(chan error)
		go func() { left <- turns.take(ctx, who[0]) }()
		synctest.Wait()
		leave(gone)
		if err := <-left; !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
		if turns.waiting.Load() != 0 {
			t.Error("somebody still waits")
		}
		// Its turn came, and it had gone: the turn is there again.
		turn, err := turns.join(who[0])
		if err != nil {
			t.Fatal(err)
		}
		turns.give()
		<-turn
		if turns.leave(who[0], turn) {
			t.Error("a turn that had come was taken for one that had not")
		}
		turns.give()
		if !turns.try(who[0]) {
			t.Error("a turn was lost")
		}
	})
}

func TestALineHasAnEnd(t *testing.T) {
	turns, who := connections(1)
	turns.try(who[0])
	for range maxWaitingEach {
		if _, err := turns.join(who[0]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := turns.join(who[0]); !errors.Is(err, errLineFull) {
		t.Errorf("got %v", err)
	}
}
