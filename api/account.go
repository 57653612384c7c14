// SPDX-License-Identifier: Apache-2.0

package api

import (
	"sync/atomic"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/cleatd/cleat/kv"
)

// account is what one connection has under way. It is closed with the
// connection.
type account struct {
	requests purse // of the door's
	small    purse // answers that needed no turn
	large    purse // answers that did
	streams  purse // RangeStreams

	fair *fairness // which knows the accounts that are open
	// copies is how often an answer lies in memory on its way to the caller:
	// once, but for the gateway, which decodes and writes it anew.
	copies int64
	// unladen is told when the connection may have become unladen.
	unladen func()
	moved   atomic.Int64         // when something was last given back, in nanoseconds
	conn    atomic.Pointer[conn] // nil until grpc has it
}

// laden says that a connection has more under way than one may have while
// others wait.
func (a *account) laden() bool { return a.large.held.Load() > a.large.of.limit.Load()/2 }

// close may be called again.
func (a *account) close() {
	a.fair.forget(a)
	for _, p := range []*purse{&a.requests, &a.small, &a.large, &a.streams} {
		p.close()
	}
	a.unladen()
}

// gave notes that something of the connection's answers was sent.
func (a *account) gave() {
	a.moved.Store(time.Now().UnixNano())
	a.unladen()
}

// owes says that a connection has had answers under way for so long and has
// taken nothing of them.
func (a *account) owes(since time.Duration) bool {
	return a.large.held.Load()+a.streams.held.Load() > 0 && time.Since(time.Unix(0, a.moved.Load())) >= since
}

// A load is an answer's memory, from when it is read until it is sent. It is
// the pool to which grpc gives the answer's buffers back, one by one as they go
// out. One goroutine reads; then others may give back.
type load struct {
	account *account
	purse   *purse
	taken   int64 // until settle
	// left is what has not been sent; turn is held until nothing is.
	left atomic.Int64
	turn *turn // nil: there is none
}

// settle gives back what was taken beyond what the answer has: it was read
// twice, or was put into another order.
func (l *load) settle(p parts) {
	kept := int64(0)
	for _, b := range p {
		if n := cap(b.ReadOnlyData()); !mem.IsBelowBufferPoolingThreshold(n) {
			kept += int64(n)
		}
	}
	kept *= l.account.copies
	if kept > l.taken {
		l.purse.force(kept - l.taken)
	} else {
		l.purse.give(l.taken - kept)
	}
	l.account.gave()
	if l.left.Add(kept) <= 0 && l.turn != nil {
		l.turn.end()
	}
}

// drop gives all back: nothing will be sent.
func (l *load) drop() {
	l.purse.give(l.taken)
	l.account.gave()
}

// Get and Put make a load a mem.BufferPool. Nobody gets from it.
func (l *load) Get(size int) *[]byte { b := make([]byte, size); return &b }

func (l *load) Put(b *[]byte) {
	n := int64(cap(*b)) * l.account.copies
	kv.Recycle(b)
	l.purse.give(n)
	l.account.gave()
	if l.left.Add(-n) <= 0 && l.turn != nil {
		l.turn.end()
	}
}
