// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"sync"
	"sync/atomic"
)

// budget is an amount of memory that many share, in bytes. Taking and giving
// back cost an atomic operation each while nobody waits.
type budget struct {
	limit   atomic.Int64
	used    atomic.Int64
	waiting atomic.Int64

	mu     sync.Mutex
	change chan struct{} // closed when something comes back; nil: nobody waits
}

func newBudget(limit int64) *budget {
	b := new(budget)
	b.limit.Store(limit)
	return b
}

// resize makes it another amount. What is taken beyond a smaller one comes back
// when those who have it are done.
func (b *budget) resize(limit int64) {
	b.limit.Store(limit)
	b.give(0) // who waits looks again
}

// try takes n bytes if there are so many.
func (b *budget) try(n int64) bool {
	for {
		used := b.used.Load()
		if used+n > b.limit.Load() {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// take takes n bytes, and waits for them until ctx ends.
func (b *budget) take(ctx context.Context, n int64) error {
	if b.try(n) {
		return nil
	}
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for {
		change := b.next()
		// What came back before next is seen here, what comes later closes it.
		if b.try(n) {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (b *budget) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.change == nil {
		b.change = make(chan struct{})
	}
	return b.change
}

func (b *budget) give(n int64) {
	b.used.Add(-n)
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.change != nil {
		close(b.change)
		b.change = nil
	}
}

// purse is what one connection has taken of a budget. When the connection is
// closed all of it goes back at once, and what is given back later counts no
// more: grpc gives nothing back of what a broken connection had yet to send.
type purse struct {
	of   *budget
	held atomic.Int64 // far below zero once the connection is closed
}

const purseClosed = -1 << 60

func (p *purse) try(n int64) bool {
	if !p.of.try(n) {
		return false
	}
	p.note(n)
	return true
}

func (p *purse) take(ctx context.Context, n int64) error {
	if err := p.of.take(ctx, n); err != nil {
		return err
	}
	p.note(n)
	return nil
}

// note counts what was taken of the budget, or, if the connection was closed
// meanwhile, returns it: whoever took it is about to learn of that.
func (p *purse) note(n int64) {
	if p.held.Add(n) < 0 {
		p.of.give(n)
	}
}

// force takes n bytes that are in use already, whether there are so many or not.
func (p *purse) force(n int64) {
	p.of.used.Add(n)
	p.note(n)
}

func (p *purse) give(n int64) {
	if p.held.Add(-n) >= 0 {
		p.of.give(n)
	}
}

func (p *purse) close() {
	if held := p.held.Swap(purseClosed); held > 0 {
		p.of.give(held)
	}
}
