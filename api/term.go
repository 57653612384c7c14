// SPDX-License-Identifier: Apache-2.0

package api

import (
	"sync/atomic"
	"time"
)

// term is the raft term for response headers. Every answer carries one, and to
// ask the node takes longer than the rest of a header; so an answer of the last
// moments is used again. No client decides by it.
type term struct {
	read  func() uint64
	epoch time.Time

	value atomic.Uint64
	until atomic.Int64 // nanoseconds after epoch at which value is too old
}

const termLife = 20 * time.Millisecond

func newTerm(read func() uint64) *term { return &term{read: read, epoch: time.Now()} }

func (t *term) current() uint64 {
	now := time.Since(t.epoch)
	if now < time.Duration(t.until.Load()) {
		return t.value.Load()
	}
	v := t.read()
	t.value.Store(v)
	t.until.Store(int64(now + termLife))
	return v
}
