// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestAPasswordIsRightForItsHashOnly(t *testing.T) {
	p, ctx := NewPasswords(MinCost), t.Context()
	first, err := p.Hash(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.Hash(ctx, "two")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from memory
		for _, c := range []struct {
			hash     []byte
			password string
			want     error
		}{
			{first, "one", nil}, {first, "two", ErrFailed}, {second, "one", ErrFailed}, {second, "two", nil}, {nil, "one", ErrFailed},
		} {
			if err := p.Check(ctx, "alice", c.hash, c.password); !errors.Is(err, c.want) {
				t.Errorf("%q: %v, want %v", c.password, err, c.want)
			}
		}
	}
	if _, err := p.Hash(ctx, strings.Repeat("x", 73)); err == nil {
		t.Error("73 bytes were hashed; bcrypt sees 72")
	}
}

// Two hundred clients of one user cost one hash, and of the rest none waits in
// vain: whoever gives up has its place taken.
func TestManyClientsOfOneUserCostOneHash(t *testing.T) {
	p := NewPasswords(MinCost)
	hash, err := p.Hash(t.Context(), "word")
	if err != nil {
		t.Fatal(err)
	}
	for range cap(p.slots) {
		p.slots <- struct{}{} // others are hashing
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := p.Check(gone, "alice", hash, "word"); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: %v", err)
	}
	var clients sync.WaitGroup
	for range 200 {
		clients.Go(func() {
			if err := p.Check(t.Context(), "alice", hash, "word"); err != nil {
				t.Error(err)
			}
		})
	}
	for range cap(p.slots) {
		p.release()
	}
	clients.Wait()
	if err := p.Check(gone, "alice", hash, "word"); err != nil {
		t.Errorf("what is remembered waits for nobody: %v", err)
	}
}

func TestWhoWouldWaitBehindTooManyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPasswords(MinCost)
		hash, err := p.Hash(t.Context(), "word")
		if err != nil {
			t.Fatal(err)
		}
		for range cap(p.slots) {
			p.slots <- struct{}{} // others are hashing
		}
		gone, leave := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		wait := func(ctx context.Context, want error) {
			clients.Go(func() {
				if err := p.Check(ctx, "alice", hash, "word"); !errors.Is(err, want) {
					t.Errorf("who waits: %v, want %v", err, want)
				}
			})
		}
		for range maxWaiting - 1 {
			wait(t.Context(), nil)
		}
		wait(gone, context.Canceled)
		synctest.Wait()
		if err := p.Check(t.Context(), "bob", hash, "word"); !errors.Is(err, ErrBusy) {
			t.Errorf("behind %d: %v", maxWaiting, err)
		}
		leave()
		synctest.Wait()
		wait(t.Context(), nil) // in the place of the one that left
		synctest.Wait()
		for range cap(p.slots) {
			p.release()
		}
		clients.Wait()
		if err := p.Check(t.Context(), "bob", hash, "word"); err != nil {
			t.Errorf("when all are served: %v", err)
		}
	})
}
